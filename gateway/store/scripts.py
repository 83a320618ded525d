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
    def load(cls, name: str, *parts: str) -> Script:
        """Read `lua/<name>.lua`, behind the `lua/parts/` that it needs.

        Raises `FileNotFoundError` where there is none.
        """
        return cls.of(name, "\n".join([*(_text(f"parts/{part}") for part in parts), _text(name)]))

    @classmethod
    def of(cls, name: str, source: str) -> Script:
        """A script from its text."""
        # SHA-1 is what the protocol names scripts by; nothing rests on its strength.
        return cls(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _text(name: str) -> str:
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8")
