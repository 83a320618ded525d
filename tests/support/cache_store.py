"""The cache's store in memory: what `gateway/cache/port.py` asks for, without a server."""

# ruff: noqa: ARG002  # the port's signatures

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.cache.port import CacheAway, Generations, Look, Part, Purged, Ticket


@dataclass
class _Flight:
    frames: list[bytes] = field(default_factory=list)
    is_ended: bool = False
    is_lost: bool = False
    reads: int = 0


@dataclass
class MemoryCacheStore:
    """Shared by as many "processes" as a test likes; `is_away` makes it fail."""

    entries: dict[str, bytes] = field(default_factory=dict)
    ttls: dict[str, int] = field(default_factory=dict)
    is_away: bool = False
    generation: Generations = field(default_factory=Generations)
    _current: dict[str, str] = field(default_factory=dict)
    _flights: dict[str, _Flight] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def in_the_air(self) -> int:
        """Flights that can be joined."""
        return len(self._current)

    def kill(self) -> None:
        """The leases of all flights run out."""
        for name in self._current.values():
            self._flights[name].is_lost = True
        self._current.clear()
        self._tell()

    async def look(self, purged: Purged, cache_key: str, ticket: Ticket | None, *, read: bool = True) -> Look:
        await self._reach()
        if not read:
            return Look(self.generation)
        entry = self.entries.get(cache_key)
        if entry is not None or ticket is None:
            return Look(self.generation, entry)
        name = self._current.setdefault(cache_key, ticket.flight)
        self._flights.setdefault(name, _Flight())
        return Look(self.generation, flight=name)

    async def put(self, cache_key: str, entry: bytes, ttl_s: int) -> None:
        await self._reach()
        self.entries[cache_key] = entry
        self.ttls[cache_key] = ttl_s

    async def drop(self, cache_key: str) -> None:
        await self._reach()
        self.entries.pop(cache_key, None)

    async def append(
        self, cache_key: str, flight: str, frames: Sequence[bytes], lease_ms: int, *, last: bool = False
    ) -> bool:
        await self._reach()
        if self._current.get(cache_key) != flight:
            return False
        self._flights[flight].frames += frames
        if last:
            self._flights[flight].is_ended = True
            del self._current[cache_key]
        self._tell()
        return True

    async def release(self, cache_key: str, flight: str) -> None:
        await self._reach()
        if self._current.get(cache_key) == flight:
            del self._current[cache_key]
            self._flights[flight].is_lost = True
            self._tell()

    async def read(self, cache_key: str, flight: str, position: int, wait_ms: int) -> Part:
        await self._reach()
        found = self._flights.get(flight)
        if found is None:
            return Part((), "lost")
        found.reads += 1
        try:
            while len(found.frames) <= position and not found.is_ended and not found.is_lost:
                await self._news.wait()
        finally:
            found.reads -= 1
        state: Literal["open", "ended", "lost"] = (
            "ended" if found.is_ended else "lost" if found.is_lost else "open"
        )
        return Part(found.frames[position:], state)

    async def is_followed(self, cache_key: str, flight: str) -> bool:
        await self._reach()
        return flight in self._flights and self._flights[flight].reads > 0

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise CacheAway("away")
