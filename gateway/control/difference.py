"""What differs between two configurations, as the paths that an operator would look for in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel


def differences(old: BaseModel, new: BaseModel) -> list[str]:
    """Dotted paths of what changed from `old` to `new`, in the file's order.

    A mapping whose names only stand in another order differs as a whole, because order counts there.
    Secrets are compared and never shown.
    """
    return list(_differences(old.model_dump(), new.model_dump(), ""))


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        if old != new:
            yield path
        return
    for name in dict.fromkeys([*old, *new]):
        inner = f"{path}.{name}" if path else str(name)
        if name in old and name in new:
            yield from _differences(old[name], new[name], inner)
        else:
            yield inner
    if list(old) != list(new) and old.keys() == new.keys():
        yield path
