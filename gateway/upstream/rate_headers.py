"""What an upstream's `x-ratelimit-*` headers say of the time to wait.

Official ones give durations as Go writes them (`6m0s`, `12ms`), Azure whole seconds. They tell when a
bucket is *full* again, so they count only for an empty one. Azure sends -1 and 0 for what it does not know.
"""

from __future__ import annotations

import re
from typing import Protocol

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_IN_S = (3600.0, 60.0, 1.0, 0.001)
_BUCKETS = (b"requests", b"tokens")


class Headers(Protocol):
    """The head of an answer."""

    def header(self, name: bytes) -> bytes | None:
        """A header by its lower-case name."""


def wait_s(head: Headers) -> float | None:
    """Seconds until the empty buckets are full; None where no bucket is empty, or nobody says when."""
    waits = [
        reset_s(head.header(b"x-ratelimit-reset-" + bucket))
        for bucket in _BUCKETS
        if head.header(b"x-ratelimit-remaining-" + bucket) == b"0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def reset_s(value: bytes | None) -> float | None:
    """Seconds that a reset header states; None for what is absent, unknown or no duration."""
    text = (value or b"").decode("latin-1").strip()
    try:
        seconds = float(text)
    except ValueError:
        parts = _DURATION.fullmatch(text)
        if parts is None:
            return None
        seconds = sum(
            float(part) * unit for part, unit in zip(parts.groups(), _IN_S, strict=True) if part is not None
        )
    return seconds if 0 < seconds < float("inf") else None
