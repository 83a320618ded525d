"""Which blocks and fields stand where in the file, read off the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from gateway.config.fields import Model
from gateway.config.models import Settings
from gateway.config.problem import Path

ANY_NAME = "NAME"
ANY_ENTRY = 0


def fields_at(path: Path) -> list[str]:
    """Names of the fields of the block at `path`; empty where there is none."""
    return [name for block in blocks_at(path) for name in block.model_fields]


def blocks_at(path: Path) -> list[type[Model]]:
    """Models of the block at `path`; more than one where its shape depends on the value."""
    kinds: list[Any] = [Settings]
    for part in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return [kind for each in kinds for kind in _members(each) if _is_model(kind)]


def blocks_below(path: Path) -> Iterator[Path]:
    """Paths of the blocks directly below the one at `path`, with `ANY_NAME` and `ANY_ENTRY` in them."""
    for block in blocks_at(path):
        for name in block.model_fields:
            for inner in ((), (ANY_NAME,), (ANY_ENTRY,)):
                if blocks_at((*path, name, *inner)):
                    yield (*path, name, *inner)


def _members(kind: Any) -> Iterator[Any]:
    """The alternatives of a union, or the type itself; without annotations."""
    if get_origin(kind) is Annotated:
        yield from _members(get_args(kind)[0])
    elif get_origin(kind) in {Union, UnionType}:
        for each in get_args(kind):
            yield from _members(each)
    else:
        yield kind


def _inside(kind: Any, part: str | int) -> Iterator[Any]:
    """Types that a value of type `kind` may have at key or index `part`."""
    for member in _members(kind):
        origin, arguments = get_origin(member), get_args(member)
        if isinstance(part, int):
            if origin is tuple:
                yield arguments[0]
        elif _is_model(member):
            if part in member.model_fields:
                yield member.model_fields[part].annotation
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            yield arguments[1]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model)
