"""What the response cache needs of a store: entries, generations, and flights that other processes follow.

All methods raise `CacheAway`, and nothing else, where the store does not answer in time or answers with an
error: for the caller of a model that is a miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec


class CacheAway(Exception):  # a state of the store, as `StoreAway` is
    """The cache's store did not do what it was asked for."""


class Generations(NamedTuple):
    """Numbers that a purge replaces by others: of all, of an alias, of a scope.

    All are part of every cache key, so that a purge scans nothing. A number that the store has lost comes
    back as one that was never used: what was purged stays so.
    """

    everything: int = 0
    alias: int = 0
    scope: int = 0


class Purged(NamedTuple):
    """Whose generations count for a call.

    `alias` is the alias's name, "" for a raw model id. `scope` is the text of the call's scope: a purge of a
    key names the scope that the key has.
    """

    alias: str
    scope: str


class Ticket(NamedTuple):
    """A wish to take part in a flight.

    Args:
        flight: names the flight that is begun where there is none; used once, by this process alone.
        lease_ms: how long a flight lives without a word of its leader.
    """

    flight: str
    lease_ms: int


class Look(msgspec.Struct, frozen=True):
    """What a look-up found.

    `flight` is the flight that the caller may follow; it is the ticket's own where the caller leads, and
    None where an entry was found or no ticket was given. It is None too where the flight of this key has
    grown too long to be joined, or the store has no room for one: then the caller flies alone.
    """

    generations: Generations
    entry: bytes | None = None
    flight: str | None = None


class Part(msgspec.Struct, frozen=True):
    """Frames of a flight from a position on.

    `state` is "ended" where these are the last, "lost" where the leader's lease is over before the end,
    nothing is known of the flight or the frame at this position is no longer kept (the newest few MiB are),
    and "open" otherwise.
    """

    frames: Sequence[bytes]
    state: Literal["open", "ended", "lost"]


class CacheStore(Protocol):
    """Entries and flights by cache key: 64 hexadecimal digits."""

    async def look(self, purged: Purged, cache_key: str, ticket: Ticket | None, *, read: bool = True) -> Look:
        """One round trip: the generations in force, and the entry; without one, the flight of this key.

        The flight is begun with the ticket where none is in the air. Entry and flight hold for `cache_key`
        as it is: whoever made it of other generations than those that came back makes it anew, releases
        what it began and looks again. Without `read` only the generations are asked for.
        """

    async def put(self, cache_key: str, entry: bytes, ttl_s: int) -> None:
        """Keep an entry for so many seconds, in place of another one.

        To be called before the flight ends: who looks in between would call the model again.
        """

    async def drop(self, cache_key: str) -> None:
        """Forget an entry that cannot be read."""

    async def append(
        self, cache_key: str, flight: str, frames: Sequence[bytes], lease_ms: int, *, last: bool = False
    ) -> bool:
        """Add frames to a flight and renew its lease; `last` ends it: it can be read on for a while.

        False, and nothing is added, where the flight is no longer the one of its key: its lease ran out.
        """

    async def release(self, cache_key: str, flight: str) -> None:
        """Give a flight up that was not ended: its followers find it "lost". Nothing where it is over."""

    async def read(self, cache_key: str, flight: str, position: int, wait_ms: int) -> Part:
        """Frames from `position` (0 is the first) on.

        Returns as soon as there is something new, at the latest after about `wait_ms` with no frames.
        """

    async def is_followed(self, cache_key: str, flight: str) -> bool:
        """Whether anyone has read of this flight in the last 0.6 s; a waiting `read` counts."""
