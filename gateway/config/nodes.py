"""YAML text to a tree of nodes that know their lines.

PyYAML's parser gives the events; the tree is built here because its own composer recurses (its C
version crashes on deep nesting) and forgets which scalars were quoted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

MOST_LEVELS = 64
"""Deepest nesting of the file; tool schemas in `defaults` are the deepest known and stay below 20."""

# The C parser is about ten times faster; wheels have it, some source builds do not.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # YAML 1.2, section 5.1
)


class NotYaml(Exception):
    """The text is no YAML; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class Scalar:
    """A single value. `plain` where it stands without quotes."""

    line: int
    text: str
    plain: bool
    tag: str | None


@dataclass(slots=True)
class Entries:
    """A list, or a mapping with its keys and values in turn."""

    line: int
    is_mapping: bool
    tag: str | None
    anchor: str | None
    nodes: list[Node] = field(default_factory=list)


Node = Scalar | Entries


def compose(text: str) -> Node | None:
    """Read the one document of `text`; None where it is empty. Aliases (`*name`) share their node.

    Raises:
        NotYaml: it cannot be read.
    """
    text = text.removeprefix("\ufeff")
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise NotYaml(line, f"character U+{ord(found[0]):04X} is not allowed in YAML")
    try:
        return _build(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = min(mark.line, text.rstrip().count("\n")) + 1 if mark is not None else 1
        reason = str(getattr(error, "problem", None) or "cannot be read")
        raise NotYaml(line, f"not YAML: {reason}{_advice(text, line)}") from None


def _build(text: str) -> Node | None:
    anchors: dict[str, Node] = {}
    unfinished: list[Entries] = []
    root: Node | None = None
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise NotYaml(line, "one document only: remove this ---")
        if isinstance(event, yaml.CollectionStartEvent):
            if len(unfinished) >= MOST_LEVELS:
                raise NotYaml(line, f"nested deeper than {MOST_LEVELS} levels")
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            unfinished.append(Entries(line, is_mapping, event.tag, event.anchor))
        elif (node := _finished(event, line, unfinished, anchors)) is not None:
            if unfinished:
                unfinished[-1].nodes.append(node)
            else:
                root = node
    return root


def _finished(
    event: yaml.Event, line: int, unfinished: list[Entries], anchors: dict[str, Node]
) -> Node | None:
    """The node that is complete with this event, known by its anchor from now on."""
    node: Node
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise NotYaml(line, f"*{event.anchor} refers to no anchor that is complete by here")
        return anchors[event.anchor]
    if isinstance(event, yaml.ScalarEvent):
        node = Scalar(line, event.value, plain=not event.style, tag=event.tag)
        anchor = event.anchor
    elif isinstance(event, yaml.CollectionEndEvent):
        node = unfinished.pop()
        anchor = node.anchor
    else:
        return None
    if anchor is not None:
        anchors[anchor] = node
    return node


def _advice(text: str, line: int) -> str:
    lines = text.splitlines()
    found = lines[line - 1] if line <= len(lines) else ""
    if "\t" in found[: len(found) - len(found.lstrip())]:
        return " (a tab stands before it: indent with spaces)"
    if re.search(r"(?<![\"'\w])\$\{", found):
        return ' (put "${...}" in quotes)'
    return ""
