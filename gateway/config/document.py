"""A tree of nodes to plain values, with `${VAR}` replaced, and the line of every path.

Variables are replaced inside scalars after parsing, so a secret may hold any character of YAML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.config.nodes import MOST_LEVELS, Entries, Node, NotYaml, Scalar, compose
from gateway.config.problem import Path
from gateway.config.scalars import Substituted, resolve

MOST_VALUES = 100_000
"""Values of a file after its aliases are expanded; a real one has a few thousand."""

_VARIABLE = re.compile(r"\$(\$\{|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>[^}$]*))?\}|\{)")
_CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}
_TEXT_TAGS = {"!", "tag:yaml.org,2002:str"}
_ENTRY_TAGS = {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass(frozen=True, eq=False)
class Places:
    """Where values stand in the file, and which of them must not be shown.

    All are equal, so that two settings are equal when they say the same from different lines.
    """

    name: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)
    substituted: frozenset[Path] = frozenset()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places)

    def __hash__(self) -> int:
        return 0

    def line(self, path: Path) -> int | None:
        """The line of `path`, or of the nearest block around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path)


@dataclass
class Document:
    """The values of a file, and what was wrong with it before anyone looked at what they mean.

    Args:
        data: None where the file is empty.
        broken: paths whose text could not be made, so that they are reported once.
        findings: (path, line, message) of mistakes.
    """

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    substituted: set[Path] = field(default_factory=set)
    broken: set[Path] = field(default_factory=set)
    findings: list[tuple[Path, int, str]] = field(default_factory=list)


def read(text: str, env: Mapping[str, str]) -> Document:
    """Turn the file's text into values. Mistakes that leave the rest readable are `findings`.

    Raises:
        NotYaml: nothing can be read.
    """
    root = compose(text)
    reader = _Reader(env)
    if root is not None:
        reader.document.data = reader.value(root, ())
    return reader.document


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.document = Document()
        self._values = 0

    def value(self, node: Node, path: Path) -> Any:
        self._count(node, path)
        self.document.lines.setdefault(path, node.line)
        if isinstance(node, Scalar):
            return self._scalar(node, path)
        if node.tag not in _ENTRY_TAGS:
            self._found(path, node.line, "tags (!name) have no meaning here")
        if not node.is_mapping:
            return [self.value(each, (*path, index)) for index, each in enumerate(node.nodes)]
        return self._mapping(node, path)

    def _count(self, node: Node, path: Path) -> None:
        self._values += 1
        if self._values > MOST_VALUES or len(path) > MOST_LEVELS:
            raise NotYaml(node.line, "its aliases (*name) expand to more than any configuration needs")

    def _found(self, path: Path, line: int, message: str) -> None:
        self.document.broken.add(path)
        self.document.findings.append((path, line, message))

    def _mapping(self, node: Entries, path: Path) -> dict[str, Any]:
        made: dict[str, Any] = {}
        merges: list[Node] = []
        first_lines: dict[str, int] = {}
        for key_node, value_node in _pairs(node):
            if not isinstance(key_node, Scalar):
                self._found(path, key_node.line, "a key is a single name, not a list or a mapping")
                continue
            if key_node.text == "<<" and key_node.plain:
                merges.append(value_node)
                continue
            key = self._key(key_node, path)
            if key in first_lines:
                self.document.findings.append(
                    ((*path, key), key_node.line, f"stands here twice, first on line {first_lines[key]}")
                )
                continue
            first_lines[key] = key_node.line
            self.document.lines[*path, key] = key_node.line
            made[key] = self.value(value_node, (*path, key))
        for merge in merges:
            self._merge(merge, made, path)
        return made

    def _merge(self, node: Node, made: dict[str, Any], path: Path) -> None:
        """Add the entries of `<<: *name` (or a list of them) that the mapping does not give itself."""
        sources = node.nodes if isinstance(node, Entries) and not node.is_mapping else [node]
        for source in sources:
            if not isinstance(source, Entries) or not source.is_mapping:
                self._found(path, node.line, "<< takes a mapping or a list of mappings")
                continue
            self._count(source, path)
            further: list[Node] = []
            for key_node, value_node in _pairs(source):
                key = key_node.text if isinstance(key_node, Scalar) else ""
                if key == "<<":
                    further.append(value_node)
                elif isinstance(key_node, Scalar) and key not in made:
                    self.document.lines[*path, key] = key_node.line
                    made[key] = self.value(value_node, (*path, key))
            for each in further:
                self._merge(each, made, path)

    def _key(self, node: Scalar, path: Path) -> str:
        if "${" in node.text.replace("$${", ""):
            self._found(path, node.line, "a variable stands in a value, not in a name; $${ is a literal ${")
        return node.text.replace("$${", "${")

    def _scalar(self, node: Scalar, path: Path) -> Any:
        if node.tag is not None and node.tag not in _CORE_TAGS | _TEXT_TAGS:
            self._found(path, node.line, "tags (!name) have no meaning here")
            return node.text
        is_plain = node.plain and node.tag is None
        if "${" in node.text:
            return self._substituted(node.text, path, node.line, plain=is_plain)
        return resolve(node.text) if is_plain or node.tag in _CORE_TAGS else node.text

    def _substituted(self, text: str, path: Path, line: int, *, plain: bool) -> str:
        """Replace variables as a shell does: a default also stands in for a variable that is empty."""
        problems: list[str] = []
        used = False

        def replace(found: re.Match[str]) -> str:
            nonlocal used
            if found[0] == "$${":
                return "${"
            used = True
            name, default = found["name"], found["default"]
            if name is None:
                problems.append(
                    "write ${NAME} or ${NAME:-default} (a default holds no $ and no }); $${ is a literal ${"
                )
                return ""
            given = self.env.get(name)
            if given is None and default is None:
                problems.append(
                    f"{name} is not set in the environment; set it, or write ${{{name}:-default}}"
                )
            return given or default or ""

        made = _VARIABLE.sub(replace, text)
        for problem in dict.fromkeys(problems):
            self._found(path, line, problem)
        if not used:
            return made
        self.document.substituted.add(path)
        return Substituted(made, plain=plain)


def _pairs(node: Entries) -> list[tuple[Node, Node]]:
    return list(zip(node.nodes[::2], node.nodes[1::2], strict=True))
