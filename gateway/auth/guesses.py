"""Keeps guessed keys off the store: who presented many wrong ones waits before another is looked up.

Only look-ups wait that nothing in memory speaks for: of an id that this worker has not seen, or of a known
one with another secret. A key that worked here before costs nothing of this, and a good one that is new is
looked up in its turn: nobody is refused for what others at the same address did, since many share one.

A wrong key raises the level of its address and of all addresses together; both sink with time. While the one
or the other is high, look-ups stand in a queue, those of the calmest addresses in front, and leave it at a
fixed pace.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

import structlog

from gateway.auth.address import origin_of
from gateway.domain.errors import Overloaded

log = structlog.get_logger(__name__)

FREE, SINKS_PER_S = 20.0, 1 / 3
"""Wrong keys of one address that pass unslowed, and how many of them are forgotten each second."""
FREE_ALL, ALL_SINKS_PER_S = 1000.0, 100.0
"""The same of all addresses of a worker together."""
PER_TURN, TURN_S = 10, 0.05
"""The pace of the queue: so many look-ups each so many seconds. The store takes a thousand times more."""
MAX_WAITING, MAX_WAITING_EACH = 4000, 400
"""How many may wait in a worker, and of one address. Those of calm addresses have as many places more."""
MAX_ADDRESSES = 10_000
_TOLD_EVERY_S = 60.0

Client = tuple[str, int] | None


class Level:
    """How much has come lately: it rises by one for each, and sinks with time."""

    __slots__ = ("_at", "_height")

    def __init__(self) -> None:
        self._height = 0.0
        self._at = 0.0

    def now(self, now: float, sinks_per_s: float) -> float:
        """Its height at this moment, never below 0."""
        self._height = max(0.0, self._height - (now - self._at) * sinks_per_s)
        self._at = now
        return self._height

    def rise(self, now: float, sinks_per_s: float) -> None:
        """One more."""
        self._height = self.now(now, sinks_per_s) + 1


class Guesses:
    """The wrong keys of one worker.

    Args:
        clock: monotonic seconds.
        on_slowed: told of each look-up that has to wait.
    """

    def __init__(self, clock: Callable[[], float], on_slowed: Callable[[], None]) -> None:
        self._clock = clock
        self._on_slowed = on_slowed
        self._levels: dict[str, Level] = {}  # the one that rose last stands last
        self._all = Level()
        self._queue: list[tuple[float, int, str, asyncio.Future[None]]] = []
        self._waiting: dict[str, int] = {}
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._told_at = float("-inf")

    def failed(self, client: Client) -> None:
        """A key from there was wrong."""
        origin, now = origin_of(client), self._clock()
        level = self._levels.pop(origin, None)
        if level is None:
            level = Level()
            if len(self._levels) >= MAX_ADDRESSES:
                self._levels.pop(next(iter(self._levels)))
        self._levels[origin] = level
        level.rise(now, SINKS_PER_S)
        self._all.rise(now, ALL_SINKS_PER_S)

    async def turn(self, client: Client) -> None:
        """Return when a key from there may be looked up: at once, but under guessing.

        Raises:
            Overloaded: too many wait.
        """
        origin, now = origin_of(client), self._clock()
        known = self._levels.get(origin)
        level = 0.0 if known is None else known.now(now, SINKS_PER_S)
        if level < FREE and self._all.now(now, ALL_SINKS_PER_S) < FREE_ALL:
            return
        self._on_slowed()
        self._tell(origin, level, now)
        mine = self._waiting.get(origin, 0)
        places = MAX_WAITING if level >= FREE else 2 * MAX_WAITING
        if mine >= MAX_WAITING_EACH or len(self._queue) >= places:
            raise Overloaded("Too many unknown keys are waiting to be checked; try again later.")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._number += 1
        # Among those that guess it is first come, first served: the good key between them comes up, too.
        heapq.heappush(self._queue, (min(level, FREE), self._number, origin, turn))
        self._waiting[origin] = mine + 1
        if self._timer is None:
            self._timer = loop.call_later(TURN_S, self._next)
        await turn

    def close(self) -> None:
        """Let nobody wait any more."""
        if self._timer is not None:
            self._timer.cancel()
        for *_, turn in self._queue:
            turn.cancel()

    def _next(self) -> None:
        for _ in range(min(PER_TURN, len(self._queue))):
            _, _, origin, turn = heapq.heappop(self._queue)
            left = self._waiting.pop(origin) - 1
            if left:
                self._waiting[origin] = left
            if not turn.done():  # else its caller has left
                turn.set_result(None)
        self._timer = None
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(TURN_S, self._next)

    def _tell(self, origin: str, level: float, now: float) -> None:
        if now - self._told_at >= _TOLD_EVERY_S:
            self._told_at = now
            log.warning("many wrong keys: their look-ups wait", address=origin, wrong_keys=int(level))
