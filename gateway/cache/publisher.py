"""A flight's leader leaves what it gets in the store, for followers in other processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from gateway.cache.flight import Flight, Tail
from gateway.cache.frames import Frame, Rejection
from gateway.cache.key import Keys
from gateway.cache.port import CacheAway, CacheStore
from gateway.domain.errors import UpstreamRejected

LEASE_MS = 3000
"""How long a flight lives without a word of its leader: so late may another one take its place."""

_HEARTBEAT_S = LEASE_MS / 3000
_GAP_S = 0.02
"""Between two writes: what comes meanwhile goes together. The first one leaves at once."""

_FRAME_BYTES = 256 * 1024
_MOST_BYTES = 4 << 20
"""Of one part: a longer one, as only a JSON body can be, is shared within its process alone."""


class Publisher:
    """Publishes one flight; a reader of it that nobody waits for.

    Where the store does not take something, the flight is given up there: it goes on for the followers of
    this process, and those of others find that it is lost.

    Args:
        name: of the flight, as its ticket has it.
        on_error: told that the store failed.
    """

    def __init__(
        self,
        store: CacheStore,
        keys: Keys,
        cache_key: str,
        name: str,
        flight: Flight,
        on_error: Callable[[], None],
    ) -> None:
        self.position = 0
        self._store = store
        self._keys = keys
        self._cache_key = cache_key
        self._name = name
        self._flight = flight
        self._on_error = on_error
        self._frames = 0
        self._has_head = False
        self._is_over = False
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        flight.reader = self

    def wake(self) -> None:
        """There is more to publish."""
        self._news.set()

    async def run(self) -> None:
        """Publish what comes, until `end` or `give_up`."""
        while not self._is_over:
            if self.position == self._flight.count:
                await self._wait()
            async with self._turn:
                await self._publish(self._next())
            await asyncio.sleep(_GAP_S)

    async def end(self, tail: Tail) -> None:
        """Publish what is left and how it ended."""
        async with self._turn:
            while not self._is_over:
                await self._publish(self._next(tail))

    async def give_up(self, failure: BaseException) -> None:
        """There is no answer: followers are told the upstream's verdict, or look for another leader."""
        async with self._turn:
            if isinstance(failure, UpstreamRejected):
                rejection = Rejection(failure.status, msgspec.json.encode(failure.body))
                await self._publish(Frame(rejection=rejection))
            await self._release()

    async def is_followed(self) -> bool:
        """Whether another process reads; False where nobody can tell."""
        try:
            return not self._is_over and await self._store.is_followed(self._cache_key, self._name)
        except CacheAway:
            return False

    async def _wait(self) -> None:
        """Wait for news, at most until the lease is to be renewed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HEARTBEAT_S):
                await self._news.wait()

    async def _publish(self, frame: Frame | None) -> None:
        """Publish a frame, or renew the lease alone."""
        if self._is_over:
            return
        if frame is not None and any(len(part) > _MOST_BYTES for part in frame.parts):
            await self._release()
            return
        is_last = frame is not None and (frame.tail is not None or frame.rejection is not None)
        frames = []
        if frame is not None:
            frames = [frame.encode(self._keys, self._cache_key, self._name, self._frames)]
            self._frames += 1
        try:
            is_taken = await self._store.append(self._cache_key, self._name, frames, LEASE_MS, last=is_last)
        except CacheAway:
            self._on_error()
            await self._release()
        else:
            if is_last or not is_taken:
                self._stop()

    def _next(self, tail: Tail | None = None) -> Frame | None:
        """The next frame, None where nothing is new; `tail` stands in the last one."""
        self._news.clear()
        flight = self._flight
        head = None if self._has_head else flight.head
        parts, size = [], 0
        while self.position < flight.count and size < _FRAME_BYTES:
            parts.append(flight.part(self.position))
            size += len(parts[-1])
            self.position += 1
        if self.position < flight.count:
            tail = None
        if head is None and not parts and tail is None:
            return None
        self._has_head = flight.head is not None
        return Frame(head, tuple(parts), tail)

    async def _release(self) -> None:
        if not self._is_over:
            self._stop()
            with contextlib.suppress(CacheAway):  # then the lease runs out
                await self._store.release(self._cache_key, self._name)

    def _stop(self) -> None:
        self._is_over = True
        self._flight.reader = None
        self._news.set()
