"""What pydantic found wrong, in words for the person who wrote the file, and what is left without it.

`validate` never stops at the first mistake: it cuts the values at fault out and validates the rest, so
that references between the good parts can be checked in the same run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from gateway.config.document import Document, Places
from gateway.config.models import Settings
from gateway.config.problem import Path, did_you_mean, quote
from gateway.config.shape import fields_at

Finding = tuple[Path, str]
"""A path, and what is wrong there."""

SECRET_FIELDS = frozenset({"api_keys", "headers", "base_url", "url", "cache_url"})
"""Fields whose values are never shown: secrets, and URLs where people put passwords."""

_NAMED = frozenset({"upstreams", "aliases", "rewrites", "prices"})
_PLACEHOLDER = "?"  # stands in for a missing model id while the rest is checked
_MOST_PASSES = 4  # cutting out what is wrong cannot make much else wrong; more passes find nothing

_KINDS: dict[str, str] = {
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "finite_number": "write a finite number",
    "bool_type": "write true or false",
    "string_type": "write text",
    "string_sub_type": "write text",
    "string_unicode": "holds bytes that are not UTF-8",
    "tuple_type": "write a list",
    "dict_type": "write a mapping (name: value)",
    "mapping_type": "write a mapping (name: value)",
    "model_type": "write a mapping (field: value)",
    "model_attributes_type": "write a mapping (field: value)",
    "path_type": "write a path",
    "missing": "missing, and there is no default",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty; leave it out instead",
}
_BOUNDS: dict[str, tuple[str, str]] = {
    "greater_than": ("must be above", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than_equal": ("must be at most", "le"),
}


@dataclass
class Draft:
    """What could be read of a file: settings without the parts that are wrong, and those parts' paths.

    `settings` is None only where the file is no mapping.
    """

    settings: Settings | None
    document: Document
    findings: list[Finding] = field(default_factory=list)
    unsound: set[Path] = field(default_factory=set)

    def is_sound(self, path: Path) -> bool:
        """False where `path`, or a block around it, was wrong and says nothing."""
        return not any(path[:length] in self.unsound for length in range(1, len(path) + 1))

    def show(self, path: Path, value: str) -> str:
        """The value in quotes; or a word for it, where it must not be shown."""
        if path in self.document.substituted:
            return "(from the environment)"
        return quote(value)


def validate(
    document: Document, base: FilePath | None, places: Places, providers: FilePath | None = None
) -> Draft:
    """Check every value of the file by itself.

    `base` is where relative paths start, `providers` the interpreter of the provider process, if any.
    """
    draft = Draft(None, document, unsound=set(document.broken))
    data = document.data
    context = {"base": base, "places": places, "providers": providers}
    for first in [True] + [False] * (_MOST_PASSES - 1):
        try:
            draft.settings = Settings.model_validate(data, context=context)
        except ValidationError as refused:
            paths = []
            for error in refused.errors(include_url=False):
                path = _path(error["loc"], document.data)
                if error["type"] == "missing":
                    path = (*path, error["loc"][-1])
                paths.append(path)
                if first and draft.is_sound(path):
                    draft.findings.append((path, _message(error, path, document)))
            cuts = {_cut(path, document.data) for path in paths}
            draft.unsound |= cuts
            data = _without(document.data, draft.unsound)
        else:
            break
    return draft


def _path(location: tuple[str | int, ...], data: Any) -> Path:
    """The place in the file of a pydantic location, which also names branches of unions and keys."""
    path: list[str | int] = []
    for part in location:
        is_entry = isinstance(part, int) and isinstance(data, list) and part < len(data)
        if is_entry or (isinstance(data, Mapping) and part in data):
            path.append(part)
            data = data[part]
    return tuple(path)


def _cut(path: Path, data: Any) -> Path:
    """What to leave out so that the rest can be read: the field at fault, never one entry of a list."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    missing = not _has(path, data)
    if missing and path[-1:] != ("model",):
        path = path[:-1]
        while path and isinstance(path[-1], int):
            path = path[:-1]
    return path


def _has(path: Path, data: Any) -> bool:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _without(data: Any, cuts: set[Path], path: Path = ()) -> Any:
    if isinstance(data, Mapping):
        kept = {
            key: _without(value, cuts, (*path, key))
            for key, value in data.items()
            if (*path, key) not in cuts
        }
        if (*path, "model") in cuts:
            kept["model"] = _PLACEHOLDER
        return kept
    if isinstance(data, list):
        return [_without(value, cuts, (*path, index)) for index, value in enumerate(data)]
    return data


def _message(error: Any, path: Path, document: Document) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    given = _given(value, path, document)
    if kind == "extra_forbidden":
        name = str(path[-1])
        message = f"unknown field {quote(name)}{did_you_mean(name, fields_at(path[:-1]))}"
    elif kind == "missing":
        message = _KINDS[kind]
    elif kind == "literal_error":
        known = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        if isinstance(value, str) and given == _this_is(quote(value)):
            message = f"unknown value {quote(value)}{did_you_mean(value, known)}"
        else:
            message = f"must be one of {', '.join(known)}{given}"
    elif kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        message = f"{words} {context[bound]}{given}"
    elif kind == "value_error":
        message = f"{context['error']}{given if isinstance(value, str) else ''}"
    else:
        message = f"{_KINDS.get(kind, error['msg'])}{_pitfall(kind, value)}{given}"
    return message


def _this_is(words: str) -> str:
    return f" (this is {words})"


def _given(value: Any, path: Path, document: Document) -> str:
    """How a message ends: the value at fault, where it is short and may be shown."""
    if path in document.substituted:
        return " (the value comes from the environment)"
    if SECRET_FIELDS.intersection(map(str, path)):
        return ""
    if isinstance(value, str):
        # Text where a block belongs may be anything, a key pasted into the wrong line included.
        return _this_is(quote(value)) if len(path) > 2 or path[0] not in _NAMED else ""
    if isinstance(value, Mapping):
        return _this_is("a mapping")
    if isinstance(value, list | tuple):
        return _this_is("a list")
    words = {None: "null", True: "true", False: "false"}
    return _this_is(words[value] if value is None or isinstance(value, bool) else str(value))


def _pitfall(kind: str, value: Any) -> str:
    if (
        kind == "bool_type"
        and isinstance(value, str)
        and value.lower() in {"yes", "no", "on", "off", "y", "n"}
    ):
        return "; yes, no, on and off are text"
    if kind == "bool_type" and isinstance(value, str) and value.lower() in {"true", "false"}:
        return ", without quotes"
    if kind in {"int_type", "float_type"} and isinstance(value, str) and value.strip("+-.").isdigit():
        return ", without quotes"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return ": put it in quotes"
    return ""
