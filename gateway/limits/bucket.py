"""The leaky bucket of a limit per minute: the reference of what the store's scripts compute.

A bucket has a level and leaks. A limit of k a minute is a bucket that k requests (or tokens) fill and that
leaks k a minute; what does not fit is refused. So k may come at once, and after that one each 60/k seconds:
the generic cell rate algorithm (ITU-T I.371) with a burst of the whole limit.

A level counts 1/60000 of a request or token. In this unit a bucket of limit k leaks k a ms, and everything is
a whole number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.limits.values import Window

UNIT = 60_000
"""One request or token, as a level counts it."""

MAX_LEVEL = 9_000_000_000_000_000
"""Levels stay below 2^53, the last whole number that Lua is sure of."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A level, when it was so (ms), and the limit that it drains by."""

    level: int
    at_ms: int
    limit: int

    def level_at(self, now_ms: int, limit: int) -> int:
        """The level at `now_ms` under `limit`, which is at least 1.

        Where the clock went back nothing drains. Under another limit than before, what was used stays used:
        a higher one has more left by the difference, a lower one is full at most, so that a call fits after a
        while of the new limit. What was above the old limit is a debt: as long as it was under a lower one,
        as large as it was under a higher one.
        """
        level = max(0, self.level - max(0, now_ms - self.at_ms) * self.limit)
        if level > limit * UNIT and limit != self.limit:
            # Floats on purpose: the script has nothing else, and both round the same way.
            level = min(level, max(limit * UNIT, math.floor(level / self.limit * limit)))
        return level


def fits(level: int, cost: int, limit: int) -> bool:
    """True where `cost` more requests or tokens fit."""
    return level + cost * UNIT <= limit * UNIT


def settled(level: int, more: int) -> int:
    """The level after `more` tokens (fewer, below 0) than were taken. Above the limit it is a debt."""
    return min(max(0, level + more * UNIT), MAX_LEVEL)


def wait_ms(level: int, cost: int, limit: int) -> int | None:
    """The ms until `cost` fits; None where it never will."""
    if cost > limit or limit == 0:
        return None
    return max(0, -(-(level + cost * UNIT - limit * UNIT) // limit))


def window(level: int, limit: int) -> Window:
    """What is left of the limit, and when all of it is back."""
    if limit == 0:
        return Window(0, 0, 0)
    return Window(limit, max(0, limit * UNIT - level) // UNIT, -(-level // limit))
