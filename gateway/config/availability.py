"""What the file may say one day and this version does not do yet: one table.

A value of the table is refused in words, never ignored. Left at its default it is no one's wish, so it
passes. To make something available, delete its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config.fields import Model
from gateway.config.models import Settings
from gateway.config.problem import Path
from gateway.config.validation import Finding


@dataclass(frozen=True, slots=True)
class Unavailable:
    """One row.

    Args:
        path: with `*` for any name or field.
        what: begins the message.
    """

    path: str
    what: str


UNAVAILABLE = (
    Unavailable("aliases.*.cache", "the response cache"),
    Unavailable("cache.enabled", "the response cache"),
    Unavailable("on_store_failure.cache", "the response cache"),
)


def unavailable(settings: Settings) -> Iterator[Finding]:
    """Everything the file asks for and this version does not have."""
    for row in UNAVAILABLE:
        for path, value, default in _values(settings, tuple(row.path.split("."))):
            if value != default:
                yield path, f"{row.what}: not available in this version"


def _values(block: Any, parts: tuple[str, ...], path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Paths, values and defaults that a pattern matches."""
    names = list(block if isinstance(block, Mapping) else type(block).model_fields)
    for name in names if parts[0] == "*" else parts[:1]:
        value = block[name] if isinstance(block, Mapping) else getattr(block, name)
        if len(parts) > 1:
            yield from _values(value, parts[1:], (*path, name))
        elif isinstance(block, Model):
            default = type(block).model_fields[name].get_default(call_default_factory=True)
            yield (*path, name), value, default
