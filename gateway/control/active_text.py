"""The text of the active configuration, where it is not simply the file's.

Static settings hold until a restart, and `tunegate serve --port` beats the file. Every process reads its
settings from the active text, so both are written into it: scalars keep their quotes, because an unquoted
`${VAR}` may be a number where a quoted one is text. Comments are lost; the file itself is never touched.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import yaml

Overrides = Mapping[str, Mapping[str, str | int]]
"""Values that beat the file's: block -> field -> value."""


def with_overrides(text: str, overrides: Overrides) -> str:
    """The text with these values in place of its own; unchanged where there are none."""
    if not overrides:
        return text
    root = _root(text)
    for block, fields in overrides.items():
        node = _get(root, block)
        entries = list(node.value) if isinstance(node, yaml.MappingNode) else []
        kept = [(key, value) for key, value in entries if key.value not in fields]
        given = [(_name(name), _scalar(value)) for name, value in fields.items()]
        _put(root, block, yaml.MappingNode("tag:yaml.org,2002:map", kept + given, flow_style=False))
    return _text(root)


def with_blocks_of(text: str, other: str, blocks: Collection[str]) -> str:
    """The text with these top-level blocks as `other` has them, absent where it has none."""
    root, source = _root(text), _root(other)
    for block in blocks:
        _put(root, block, _get(source, block))
    return _text(root)


def write_atomically(path: Path, text: str) -> None:
    """Write a file that only this user reads, all of it or nothing."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def _root(text: str) -> yaml.MappingNode:
    root = yaml.compose(text.removeprefix("\ufeff"), Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        return root
    return yaml.MappingNode("tag:yaml.org,2002:map", [], flow_style=False)  # an empty file, or only comments


def _text(root: yaml.MappingNode) -> str:
    text: str = yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True, width=math.inf)
    return text


def _get(root: yaml.MappingNode, name: str) -> yaml.Node | None:
    return next((value for key, value in root.value if key.value == name), None)


def _put(root: yaml.MappingNode, name: str, node: yaml.Node | None) -> None:
    root.value = [(key, value) for key, value in root.value if key.value != name]
    if node is not None:
        root.value.append((_name(name), node))


def _name(name: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", name)


def _scalar(value: str | int) -> yaml.ScalarNode:
    if isinstance(value, int):
        return yaml.ScalarNode("tag:yaml.org,2002:int", str(value))
    return yaml.ScalarNode("tag:yaml.org,2002:str", value.replace("${", "$${"), style='"')
