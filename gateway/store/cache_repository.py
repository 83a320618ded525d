"""The response cache in its store: entries, generations, and flights that several processes share.

All of one cache key stands in one slot and changes in one script; the generations stand in another one, and
are asked for in the same write. A server of its own may drop anything at any time when memory is short: an
entry is then a miss, a flight is lost to its leader and its followers, and a generation comes back as a
number that was never used.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from gateway.cache.port import CacheAway, Generations, Look, Part, Purged, Ticket
from gateway.store import keys
from gateway.store.address import Command
from gateway.store.client import Store
from gateway.store.errors import StoreError, StoreReplyError
from gateway.store.scripts import Script

PUT_TIMEOUT_S = 0.5
"""An entry may be large, and nobody waits for it but its own request, which has its answer."""

KEPT_BYTES = 8 << 20
"""Of one flight. Who joins must read from its beginning, so a longer answer is shared with nobody new."""

_FRAMES_AT_ONCE = 256
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.004, 0.02  # between two reads of a flight that brought nothing
_MARK_EVERY_S = 0.2

_STATES: tuple[Literal["open", "ended", "lost"], ...] = ("open", "ended", "lost")


class CacheRepository:
    """Implements `gateway.cache.port.CacheStore`.

    Args:
        store: a client of the cache's server, with a short timeout (`gateway/store/places.py`).
        is_shared: whether that server keeps the ledger too. Then nothing is added once four fifths of its
            memory are full.
    """

    def __init__(self, store: Store, *, is_shared: bool, kept_bytes: int = KEPT_BYTES) -> None:
        self._store = store
        self._is_shared = int(is_shared)
        self._kept_bytes = kept_bytes
        self._look = Script.load("cache_look", "room")
        self._put = Script.load("cache_put", "room")
        self._append = Script.load("cache_append", "names", "numbers")
        self._read = Script.load("cache_read", "names", "numbers")
        self._release = Script.load("cache_release")
        self._generation = Script.load("cache_generation", "names", "numbers")

    async def look(self, purged: Purged, cache_key: str, ticket: Ticket | None, *, read: bool = True) -> Look:
        """See the port."""
        names = [
            keys.CACHE_GENERATION,
            keys.cache_generation_of_alias(purged.alias),
            keys.cache_generation_of_scope(purged.scope),
        ]
        script_keys = [keys.cache_entry(cache_key), keys.cache_flight(cache_key)]
        commands: list[Command] = [("MGET", *names)]
        arguments: list[str | bytes | int] = []
        if read and ticket is not None:
            arguments = [ticket.flight, ticket.lease_ms, self._is_shared]
            commands.append(("EVALSHA", self._look.sha, len(script_keys), *script_keys, *arguments))
        elif read:
            commands.append(("GET", script_keys[0]))
        with _misses():
            numbers, *found = await self._store.call_many(commands)
            if isinstance(numbers, StoreReplyError):
                raise numbers
            if None in numbers:
                numbers = await self._store.script(self._generation, names, [0])
            generations = Generations(*map(int, numbers))
            if not found:
                return Look(generations)
            reply = found[0]
            if isinstance(reply, StoreReplyError):
                if reply.code != "NOSCRIPT":
                    raise reply
                reply = await self._store.script(self._look, script_keys, arguments)
        if ticket is None:
            return Look(generations, entry=reply)
        return Look(generations, entry=reply[0], flight=reply[1].decode() or None)

    async def put(self, cache_key: str, entry: bytes, ttl_s: int) -> None:
        """See the port."""
        await self._run(
            self._put,
            [keys.cache_entry(cache_key)],
            [entry, 1000 * ttl_s, self._is_shared],
            timeout_s=PUT_TIMEOUT_S,
        )

    async def drop(self, cache_key: str) -> None:
        """See the port."""
        with _misses():
            await self._store.call("DEL", keys.cache_entry(cache_key))

    async def append(
        self, cache_key: str, flight: str, frames: Sequence[bytes], lease_ms: int, *, last: bool = False
    ) -> bool:
        """See the port."""
        names = [keys.cache_flight(cache_key), keys.cache_frames(cache_key, flight)]
        arguments: list[str | bytes | int] = [flight, lease_ms, int(last), self._kept_bytes, *frames]
        return bool(await self._run(self._append, names, arguments))

    async def release(self, cache_key: str, flight: str) -> None:
        """See the port."""
        await self._run(self._release, [keys.cache_flight(cache_key)], [flight])

    async def read(self, cache_key: str, flight: str, position: int, wait_ms: int) -> Part:
        """See the port. It asks again after 4 to 20 ms: the client's connection must not block."""
        names = [
            keys.cache_flight(cache_key),
            keys.cache_frames(cache_key, flight),
            keys.cache_followed(cache_key),
        ]
        now = asyncio.get_running_loop().time
        give_up_at, pause_s, mark_at = now() + wait_ms / 1000, _FIRST_PAUSE_S, -math.inf
        while True:
            is_marking = now() >= mark_at
            if is_marking:
                mark_at = now() + _MARK_EVERY_S
            arguments: list[str | bytes | int] = [flight, position, _FRAMES_AT_ONCE, int(is_marking)]
            state, frames = await self._run(self._read, names, arguments)
            if frames or _STATES[state] != "open" or now() >= give_up_at:
                return Part(frames, _STATES[state])
            await asyncio.sleep(min(pause_s, max(0.0, give_up_at - now())))
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)

    async def is_followed(self, cache_key: str, flight: str) -> bool:
        """See the port."""
        with _misses():
            followed = await self._store.call("GET", keys.cache_followed(cache_key))
        return bool(followed == flight.encode())

    async def purge(self, *, aliases: Sequence[str] = (), scopes: Sequence[str] = ()) -> None:
        """Make the answers of these aliases and of these scopes unfindable; all where neither is named."""
        names = [
            *(keys.cache_generation_of_alias(alias) for alias in aliases),
            *(keys.cache_generation_of_scope(scope) for scope in scopes),
        ]
        await self._run(self._generation, names or [keys.CACHE_GENERATION], [1])

    async def _run(
        self,
        script: Script,
        names: Sequence[str],
        arguments: Sequence[str | bytes | int],
        *,
        timeout_s: float | None = None,
    ) -> Any:
        with _misses():
            return await self._store.script(script, names, arguments, timeout_s=timeout_s)


@contextmanager
def _misses() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise CacheAway(str(error)) from error
