"""Looking after children that live: one that does nothing any more is ended, an outgrown one makes way.

A heartbeat says that an event loop turns, so a child that is only busy is left alone: it tells, if late. Time
is counted as this process lives it. Where the machine or the whole gateway was suspended, nobody has been
silent meanwhile.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence

from gateway.supervisor.backoff import Backoff
from gateway.supervisor.children import NotReady
from gateway.supervisor.keeper import Keeper
from gateway.supervisor.output import log
from gateway.supervisor.spec import HealthSpec
from gateway.supervisor.vitals import Ceilings

LOOK_EVERY_S = 1.0
LOOKS_OVER = 3
"""How many looks in a row must find a worker over its ceiling: a large reply comes and goes."""

LEFT_FILES = 32
"""How many files a worker has left of what the system grants when it is replaced, unless told otherwise."""

FIRST_PAUSE_S, LAST_PAUSE_S = 60.0, 600.0
"""Between two replacements at one place for a ceiling: what is set below the need is no storm."""


class Watch:
    """Looks at every child each second, and does something about one of them at a time.

    Args:
        workers: held to the ceilings too.
        others: held to their heartbeat alone.
    """

    def __init__(self, workers: Sequence[Keeper], others: Sequence[Keeper], health: HealthSpec) -> None:
        self._workers = [_Place(worker) for worker in workers]
        self._keepers = [*workers, *others]
        self._unresponsive_s = health.unresponsive_s
        self._ceilings = Ceilings(health.memory_bytes, health.open_files or _granted_files())

    async def run(self) -> None:
        """Look for ever."""
        clock = asyncio.get_running_loop().time
        while True:
            before = clock()
            await asyncio.sleep(LOOK_EVERY_S)
            passed_s = min(clock() - before, 2 * LOOK_EVERY_S)
            for keeper in self._keepers:
                self._listen(keeper, passed_s)
            for place in self._workers:
                if place.is_over(self._ceilings, clock()):
                    await place.make_way()
                    break

    def _listen(self, keeper: Keeper, passed_s: float) -> None:
        if self._unresponsive_s is None:
            return
        for child in keeper.children:
            child.pulse.passed(passed_s)
            silent_s = child.pulse.silent_s or 0.0
            if silent_s > self._unresponsive_s and not child.process.exited.done():
                facts = {"child": keeper.name, "pid": child.process.pid, "silent_s": round(silent_s, 1)}
                log("child_unresponsive", "error", **facts)
                keeper.end_unresponsive(child)


class _Place:
    """A worker's place, and what is known of it: since when it is over, when it may be filled anew."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._looks = 0
        self._excess: tuple[str, int, int] = ("", 0, 0)
        self._backoff = Backoff(FIRST_PAUSE_S, LAST_PAUSE_S, LAST_PAUSE_S)
        self._not_before = 0.0

    def is_over(self, ceilings: Ceilings, now: float) -> bool:
        """Whether the worker in place should make way at this moment."""
        child = self._keeper.child
        excess = None if child is None else ceilings.over(child.process.pid)
        if excess is None:
            self._looks = 0
            return False
        self._looks += 1
        self._excess = excess
        return self._looks >= LOOKS_OVER and now >= self._not_before and not self._keeper.is_retiring

    async def make_way(self) -> None:
        """Put another worker in place; the old one finishes its streams. Where none gets ready it stays."""
        child = self._keeper.child
        if child is None:
            return
        self._looks = 0
        pause_s = self._backoff.after(child.process.alive_s)
        self._not_before = asyncio.get_running_loop().time() + pause_s
        because, takes, may = self._excess
        pid = child.process.pid
        log(
            "worker_over_ceiling",
            "warning",
            child=self._keeper.name,
            pid=pid,
            because=because,
            takes=takes,
            ceiling=may,
            next_after_s=pause_s,
        )
        try:
            await self._keeper.replace(because, only=child)
        except NotReady as error:
            log("replacement_failed", "error", reason=error)


def _granted_files() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # children inherit it
    return None if soft == resource.RLIM_INFINITY else max(1, soft - LEFT_FILES)
