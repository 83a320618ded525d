"""What the cache's store has for a question: an entry, a flight, or nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec

from gateway.cache.entry import Entry
from gateway.cache.key import Keys, Question
from gateway.cache.port import CacheAway, CacheStore, Generations, Look, Purged, Ticket
from gateway.cache.publisher import LEASE_MS

_KNOWN = 4096
_TRIES = 4


class Found(msgspec.Struct, frozen=True):
    """What was found.

    Args:
        cache_key: where an answer to this question is kept.
        keys: that made it.
        entry: that was kept there.
        flight: that may be followed, or is to be led.
        leads: whether it is to be led.
    """

    cache_key: str
    keys: Keys
    entry: Entry | None = None
    flight: str | None = None
    leads: bool = False


class Lookup:
    """Asks the cache's store.

    A key holds the generations that a purge moves. They come back with every look-up, so those of the last
    one are taken to be in force, and where they are not it is looked again.

    Args:
        process: identifies this process, so that no two flights have one name.
        on_corrupt: told of an entry that cannot be read.
    """

    def __init__(self, store: CacheStore, process: str, on_corrupt: Callable[[], None]) -> None:
        self._store = store
        self._process = process
        self._on_corrupt = on_corrupt
        self._numbers = itertools.count(1)
        self._known: dict[Purged, Generations] = {}

    async def find(
        self, keys: Keys, question: Question, alias: str | None, *, read: bool = True, fly: bool = True
    ) -> Found:
        """Look once, and again where what was known of purges is outdated.

        Args:
            alias: as asked for; None for a raw model id.
            read: take an entry.
            fly: take part in a flight where there is no entry.

        Raises:
            CacheAway: the store does not say.
        """
        purged = Purged(alias or "", str(question.scope))
        fly = fly and read
        for _ in range(_TRIES):
            generations = self._known.get(purged)
            if generations is None:
                generations = (await self._store.look(purged, "", None, read=False)).generations
                self._learn(purged, generations)
            cache_key = keys.key(question, generations)
            ticket = Ticket(f"{self._process}-{next(self._numbers)}", LEASE_MS) if fly else None
            look = await self._store.look(purged, cache_key, ticket, read=read)
            leads = ticket is not None and look.flight == ticket.flight
            if look.generations != generations:
                self._learn(purged, look.generations)
                if leads and ticket is not None:
                    await self._store.release(cache_key, ticket.flight)
            elif look.entry is None:
                return Found(cache_key, keys, flight=look.flight, leads=leads)
            elif (entry := await self._read(keys, cache_key, look)) is not None:
                return Found(cache_key, keys, entry)
        raise CacheAway("the cache changes faster than it can be read")

    async def keep(self, found: Found, entry: Entry, ttl_s: int) -> None:
        """Keep an answer. Raises `CacheAway`."""
        await self._store.put(found.cache_key, entry.encode(found.keys, found.cache_key), ttl_s)

    async def _read(self, keys: Keys, cache_key: str, look: Look) -> Entry | None:
        """The entry; one that cannot be read is forgotten, so that another one takes its place."""
        entry = Entry.decode(keys, cache_key, look.entry or b"")
        if entry is None:
            self._on_corrupt()
            await self._store.drop(cache_key)
        return entry

    def _learn(self, purged: Purged, generations: Generations) -> None:
        if len(self._known) >= _KNOWN:  # keys and aliases come and go: bounded
            self._known.clear()
        self._known[purged] = generations
