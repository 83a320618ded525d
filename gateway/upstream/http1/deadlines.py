"""One timer for many waits: arming and disarming cost a set operation, not a timer of the loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

_COALESCE_S = 0.02  # deadlines closer than this are served by one wake-up


class Waiter(Protocol):
    """Something with a deadline."""

    due_at: float

    def on_due(self, now: float) -> float | None:
        """The deadline has come. Returns a later one (`loop.time()`), or None if the wait is over."""


class Deadlines:
    """Wakes waiters at their deadline, at most 20 ms late.

    The timer stands at the earliest deadline it knew of. A wait that ends early leaves it standing; it then
    fires in vain, looks for the earliest deadline left, and moves there. With timeouts of a minute and any
    number of requests that is about one wake-up a minute.
    """

    __slots__ = ("_armed", "_at", "_loop", "_timer", "disarm")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._armed: set[Waiter] = set()
        self.disarm: Callable[[Waiter], None] = self._armed.discard
        """The wait is over. Idempotent."""
        self._at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._armed)

    def arm(self, waiter: Waiter, due_at: float) -> None:
        """Wake `waiter` at `due_at` (`loop.time()`). Arming again moves the deadline."""
        waiter.due_at = due_at
        self._armed.add(waiter)
        if due_at < self._at:
            self._schedule(due_at)

    def close(self) -> None:
        """Forget every waiter and stop the timer."""
        self._armed.clear()
        self._at = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._at = math.inf
        now = self._loop.time()
        for waiter in [waiter for waiter in self._armed if waiter.due_at <= now]:
            later = waiter.on_due(now)
            if later is None:
                self._armed.discard(waiter)
            else:
                waiter.due_at = later
        if self._armed:
            earliest = min(waiter.due_at for waiter in self._armed)
            self._schedule(max(earliest, now + _COALESCE_S))
