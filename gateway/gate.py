"""The bound on calls in progress: so many have a place, some more wait in order, the rest is refused at once.

A worker that takes every call it is offered serves all of them late. `Places` is the rule, without I/O or
time; `Gate` lets calls wait by it. A place is held until the call's last byte, a stream's too.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.domain.errors import Overloaded

_W = TypeVar("_W")
_FULL = "This gateway has all the calls in progress that it may have; try again later."
_TOO_LONG = "This gateway found no room for the call within {:g} seconds; try again later."
_COME_BACK_S = (1.0, 3.0)


class Places(Generic[_W]):
    """A number of places and a queue for them, first come, first served. While anyone waits none is free.

    Args:
        places: calls in progress, at most.
        queue: how many may wait; 0 = nobody.
        let_in: tells a waiter of its place; False where it has gone meanwhile.
    """

    def __init__(self, places: int, queue: int, let_in: Callable[[_W], bool]) -> None:
        self._free = places
        self._queue = queue
        self._let_in = let_in
        self._waiting: dict[_W, None] = {}  # a dict, because whoever gives up may stand anywhere in the queue

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    def take(self) -> bool:
        """Take a free place, if there is one."""
        if self._free > 0:
            self._free -= 1
            return True
        return False

    def queue_up(self, waiter: _W) -> bool:
        """Stand at the queue's end; False where it is full."""
        if len(self._waiting) >= self._queue:
            return False
        self._waiting[waiter] = None
        return True

    def give_up(self, waiter: _W) -> bool:
        """Leave the queue; False where the waiter stands in it no more."""
        if waiter not in self._waiting:
            return False
        del self._waiting[waiter]
        return True

    def leave(self) -> None:
        """A place is given back: whoever waited longest, and is there, has it now; else it is free."""
        while self._waiting:
            first = next(iter(self._waiting))
            del self._waiting[first]
            if self._let_in(first):
                return
        self._free += 1


class Gate:
    """Lets calls in.

        if not gate.enter():
            await gate.wait()
        try: ...
        finally: gate.leave()

    Args:
        places: calls in progress, at most.
        queue: how many more may wait.
        timeout_s: how long they may.
        draw: random numbers in [0, 1), which spread the return of the refused.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        places: int,
        queue: int,
        timeout_s: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._loop = loop
        self._places: Places[asyncio.Future[bool]] = Places(places, queue, _let_in)
        self._timeout_s = timeout_s
        self._draw = draw
        self.enter = self._places.take
        """Take a place without waiting; False where there is none."""
        self.leave = self._places.leave
        """Give the place back, to the next in the queue."""

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._places.waiting

    async def wait(self) -> None:
        """Wait for a place. Whoever is cancelled meanwhile holds none.

        Raises:
            Overloaded: the queue is full, or no place was free in time.
        """
        waiter: asyncio.Future[bool] = self._loop.create_future()
        if not self._places.queue_up(waiter):
            raise self.refusal(_FULL)
        timer = self._loop.call_later(self._timeout_s, self._too_late, waiter)
        try:
            has_place = await waiter
        except asyncio.CancelledError:
            if not self._places.give_up(waiter) and not waiter.cancelled() and waiter.result():
                self.leave()  # it came in the same moment
            raise
        finally:
            timer.cancel()
        if not has_place:
            raise self.refusal(_TOO_LONG.format(self._timeout_s))

    def refusal(self, why: str = _FULL) -> Overloaded:
        """The error for a call that is not let in, with a moment to come back that is not everyone's."""
        error = Overloaded(why)
        least, most = _COME_BACK_S
        error.retry_after_s = least + (most - least) * self._draw()
        return error

    def _too_late(self, waiter: asyncio.Future[bool]) -> None:
        if self._places.give_up(waiter):
            waiter.set_result(False)


def _let_in(waiter: asyncio.Future[bool]) -> bool:
    if waiter.done():  # it was cancelled, and its task has not run yet
        return False
    waiter.set_result(True)
    return True
