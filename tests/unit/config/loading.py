"""Short ways to load a text and to read what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from gateway.config import ConfigError, Settings, check, load

BASE = Path("/etc/tunegate")


def loaded(text: str, env: Mapping[str, str] | None = None) -> Settings:
    """The settings of a good text."""
    return load(dedent(text), base=BASE, env=env or {}, name="f")


def said(text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """The lines that refuse a bad text."""
    try:
        loaded(text, env)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def warned(text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """The warnings about a good text."""
    return [str(problem) for problem in check(loaded(text, env))]
