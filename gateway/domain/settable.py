"""Structs that are made once a request, and whose fields are set as it goes on."""

from __future__ import annotations

from typing import TypeVar

import msgspec

_S = TypeVar("_S", bound=msgspec.Struct)


def settable(struct: type[_S]) -> type[_S]:
    """Let the fields of a struct be set at the price of a slot, a third of what msgspec's own way takes.

    That way looks at each value, since a struct without anything that the garbage collector has to follow is
    unknown to it until it is given such a thing. So this is for structs that hold something of the kind from
    the first, or never do.
    """
    struct.__setattr__ = object.__setattr__  # type: ignore[method-assign]  # both together are a type's one way
    struct.__delattr__ = object.__delattr__  # type: ignore[method-assign]  # to set, so that no Python is called
    return struct
