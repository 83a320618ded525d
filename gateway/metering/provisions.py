"""What is charged should this process die: calls that were admitted while the store was away.

The store holds a reservation of every other call, so that the sweeper finds it. Of these calls nobody else
knows, so each is written to disk, as its whole bound, before an upstream is asked:

    made     on disk; replayed as `orphaned` by whoever takes over the files of a dead process
    settled  dropped, in the order they were made; if the process dies first, the store knows better: a truer
             settlement stands against an orphaned one, whichever of them comes first
"""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from gateway.limits.values import Settlement
from gateway.metering.entry import encode_entry
from gateway.metering.journal import Journal, JournalFull

WAIT_S = 1.0
"""How long a call waits for the disk; then it is served all the same."""

log = structlog.get_logger(__name__)


class Provisions:
    """Made before a call is served without the store. Use it from one event loop.

    Args:
        journal: of its own, that nobody replays while this process lives.
    """

    def __init__(self, journal: Journal, *, wait_s: float = WAIT_S) -> None:
        self._journal = journal
        self._wait_s = wait_s
        self._made: deque[str] = deque()  # in the order of the journal
        self._open: set[str] = set()
        self._dropping: asyncio.Task[None] | None = None

    async def make(self, charge: Settlement) -> None:
        """Keep what a call is charged if this process dies; returns once that is on disk, in bounded time."""
        try:
            saved = self._journal.append(encode_entry(charge))
        except JournalFull:
            _say_unprovided(charge)
            return
        self._made.append(charge.request_id)
        self._open.add(charge.request_id)
        await asyncio.wait({saved}, timeout=self._wait_s)

    def settled(self, request_id: str) -> None:
        """The settlement of a call is safe; does nothing for calls that the store admitted."""
        if request_id in self._open:
            self._open.remove(request_id)
            if self._dropping is None or self._dropping.done():
                self._dropping = asyncio.create_task(self._drop())

    async def aclose(self, within_s: float) -> None:
        """Drop what is settled and let go of the files. Call it when no call is open any more."""
        if self._dropping is not None:
            await asyncio.wait({self._dropping}, timeout=within_s)
            self._dropping.cancel()
        await self._journal.aclose(within_s)

    async def _drop(self) -> None:
        try:
            while count := self._settled_first():
                batch = await self._journal.read(count)
                if not batch.entries:
                    return  # the disk refuses; they are dropped once they have reached it
                done = len(batch.entries)
                await self._journal.advance(batch, done)
                for _ in range(done):
                    self._made.popleft()
        except OSError as error:
            log.warning("provisions of settled calls stay on disk", reason=str(error))

    def _settled_first(self) -> int:
        """How many of the eldest are settled."""
        count = 0
        for request_id in self._made:
            if request_id in self._open:
                break
            count += 1
        return count


def _say_unprovided(charge: Settlement) -> None:
    log.error(
        "a call is served that nobody will know of if this process dies",
        request_id=charge.request_id,
        key=charge.key_id,
    )
