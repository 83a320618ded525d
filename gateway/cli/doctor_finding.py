"""What `tunegate doctor` finds: one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        check: what was looked at, such as "store latency".
        state: "bad" is to be mended, "warn" to be known.
        said: what was found, without any secret.
        do: what mends it; None where nothing is to do.
    """

    check: str
    state: State
    said: str
    do: str | None = None


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", said)


def warn(check: str, said: str, do: str) -> Finding:
    """It works, and one should know."""
    return Finding(check, "warn", said, do)


def bad(check: str, said: str, do: str) -> Finding:
    """It does not work, or loses something."""
    return Finding(check, "bad", said, do)
