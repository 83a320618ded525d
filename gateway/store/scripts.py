"""Lua scripts: package data, run by their hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script as the store knows it: `sha` is what EVALSHA asks for."""

    name: str
    source: str
    sha: str

    @classmethod
    def load(cls, name: str) -> Script:
        """Read `lua/<name>.lua`. Raises `FileNotFoundError` where there is none."""
        return cls.of(name, resources.files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8"))

    @classmethod
    def of(cls, name: str, source: str) -> Script:
        """A script from its text."""
        # SHA-1 is what the protocol names scripts by; nothing rests on its strength.
        return cls(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
