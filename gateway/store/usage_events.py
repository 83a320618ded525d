"""Reading the ledger: the events of all shards as one sequence, the oldest first, by bounded reads.

A shard's ledger is a stream that is only ever appended to, and trimmed at its old end. So where a reader
stands is one position a shard, and whoever goes on from there misses nothing and meets nothing twice. The
sequence is by the time of settlement; where clocks of servers differ, shards may interleave otherwise, which
changes the order and nothing else.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from gateway.store.client import Store, pairs
from gateway.store.errors import StoreReplyError
from gateway.store.keys import ledger
from gateway.store.usage import SHARDS

Position = tuple[int, int]
"""Where an entry stands in its shard's stream: the ms when it was written, and a number within it."""

START: Position = (0, 0)
"""Before the first entry."""

_PER_WRITE = 2048  # entries asked for at once: 2 MB, some 3 ms of the server
_AHEAD = 8192  # entries that wait in memory, over all shards: some 10 MB


class Event(NamedTuple):
    """One entry of the ledger, `record` as JSON. `was` is what a correction replaces."""

    shard: str
    position: Position
    kind: Literal["event", "correction"]
    record: bytes
    was: bytes | None


class LedgerReader:
    """Reads events. All methods raise `StoreAway` where the store cannot be reached."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(
        self, after: Mapping[str, Position], count: int, *, until: Mapping[str, Position] | None = None
    ) -> dict[str, list[Event]]:
        """Up to `count` events of each shard named in `after`, those behind its position, in one write.

        `until` bounds a shard: events behind it are left out.
        """
        commands = [
            ("XRANGE", ledger(shard), f"({_text(position)}", _end(until, shard), "COUNT", count)
            for shard, position in after.items()
        ]
        replies = await self._store.call_many(commands)
        found: dict[str, list[Event]] = {}
        for shard, reply in zip(after, replies, strict=True):
            if isinstance(reply, StoreReplyError):
                raise reply
            found[shard] = [_event(shard, entry) for entry in reply]
        return found

    async def ends(self, shards: Iterable[str] = SHARDS) -> dict[str, Position]:
        """Where the ledger of each shard ends now; shards without events are left out."""
        names = list(shards)
        replies = await self._store.call_many(
            [("XREVRANGE", ledger(shard), "+", "-", "COUNT", 1) for shard in names]
        )
        ends: dict[str, Position] = {}
        for shard, reply in zip(names, replies, strict=True):
            if isinstance(reply, StoreReplyError):
                raise reply
            if reply:
                ends[shard] = position_of(reply[0][0])
        return ends


class EventSequence:
    """The events of several shards as one sequence, read as far as it is asked for.

    Args:
        positions: where to begin, by shard; moved along with what is taken.
        until: where each shard ends; without it, where its ledger ends when that is reached.
    """

    def __init__(
        self,
        reader: LedgerReader,
        positions: dict[str, Position],
        until: Mapping[str, Position] | None = None,
    ) -> None:
        self.positions = positions
        self._reader = reader
        self._until = until
        self._ahead: dict[str, deque[Event]] = {shard: deque() for shard in positions}
        self._read_to = dict(positions)
        self._open = {shard for shard in positions if until is None or shard in until}
        self._order: list[tuple[Position, str]] = []

    async def take(self, count: int) -> list[Event]:
        """The next events, at most `count`; fewer only at the end."""
        taken: list[Event] = []
        while len(taken) < count:
            await self._refill(count - len(taken))
            if not self._order:
                break
            # Every open shard has an event waiting now: the oldest is the next, until a shard runs dry.
            while self._order and len(taken) < count:
                _, shard = heapq.heappop(self._order)
                ahead = self._ahead[shard]
                event = ahead.popleft()
                taken.append(event)
                self.positions[shard] = event.position
                if ahead:
                    heapq.heappush(self._order, (ahead[0].position, shard))
                elif shard in self._open:
                    break
        return taken

    async def is_over(self) -> bool:
        """True where nothing is left."""
        await self._refill(1)
        return not self._order

    async def batches(self, count: int) -> AsyncIterator[list[Event]]:
        """All that is left, `count` at a time."""
        while batch := await self.take(count):
            yield batch

    async def _refill(self, wanted: int) -> None:
        dry = {shard: self._read_to[shard] for shard in self._open if not self._ahead[shard]}
        if not dry:
            return
        count = max(1, min(wanted, _PER_WRITE // len(dry), _AHEAD // len(self._open)))
        for shard, events in (await self._reader.read(dry, count, until=self._until)).items():
            if len(events) < count:
                self._open.discard(shard)
            if events:
                self._ahead[shard].extend(events)
                self._read_to[shard] = events[-1].position
                heapq.heappush(self._order, (events[0].position, shard))


def _event(shard: str, entry: list[Any]) -> Event:
    position, flat = entry
    fields = pairs(flat)
    kind: Literal["event", "correction"] = "correction" if fields[b"t"] == b"correction" else "event"
    return Event(shard, position_of(position), kind, fields[b"r"], fields.get(b"was"))


def position_of(text: bytes) -> Position:
    """Read the id of an entry."""
    ms, _, number = text.partition(b"-")
    return int(ms), int(number)


def _text(position: Position) -> str:
    return f"{position[0]}-{position[1]}"


def _end(until: Mapping[str, Position] | None, shard: str) -> str:
    return "+" if until is None else _text(until[shard])
