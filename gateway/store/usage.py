"""Reading usage: the counters that settlements move, hash by hash, over all shards.

Nothing here blocks the server for long: a write asks for some ten thousand counters at most, however many
hashes those are, so calls of the data plane pass in between. A figure read while calls are settled is one
that stood there during the read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from gateway.store.client import Store
from gateway.store.errors import StoreReplyError
from gateway.store.keys import key_period, usage_of_day, usage_of_hour

SHARDS = tuple(f"{number:02d}" for number in range(64))

SEPARATOR = "\x1f"
"""Between the parts of a counter's name."""

Span = Literal["day", "hour"]

_AT_ONCE = 64  # hashes asked for in one write
_IN_PARTS = 16  # of those that need several writes
_PER_WRITE = 20_000  # counters that one write looks at: about 2 ms of the server
_TOGETHER = 32  # hashes whose existence is asked for in one command
_COMMANDS = 500  # of such commands in one write


class Counters(Protocol):
    """A hash of counters."""

    @property
    def shard(self) -> str:
        """Whose hash it is."""

    @property
    def store_key(self) -> str:
        """The hash itself."""


C = TypeVar("C", bound=Counters)


class Bucket(NamedTuple):
    """The counters of one shard in one UTC day (`yyyymmdd`) or hour (`yyyymmddhh`)."""

    shard: str
    span: Span
    name: str

    @property
    def store_key(self) -> str:
        """The hash that holds them."""
        return (usage_of_day if self.span == "day" else usage_of_hour)(self.shard, self.name)


class KeyBucket(NamedTuple):
    """What one virtual key used in one UTC day (`yyyymmdd`) or month (`yyyymm`): its budget goes by that."""

    key: str
    name: str

    @property
    def shard(self) -> str:
        """The key's shard."""
        return self.key[:2]

    @property
    def store_key(self) -> str:
        """The hash that holds it."""
        return key_period(self.key, self.name)


@dataclass(slots=True, eq=False)
class _Scan(Generic[C]):
    bucket: C
    cursor: bytes | int = 0
    found: dict[bytes, bytes] = field(default_factory=dict)


class UsageReader:
    """Reads counters. All methods raise `StoreAway` where the store cannot be reached."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def existing(self, buckets: Iterable[C]) -> list[C]:
        """Those of the buckets that hold something, in order: most of a long period is empty.

        Buckets of one shard must follow one another.
        """
        some = await self._existing(_together(buckets, _TOGETHER))
        return await self._existing([bucket] for bucket in some)

    async def _existing(self, groups: Iterator[list[C]]) -> list[C]:
        """The buckets of the groups of which any exists."""
        found: list[C] = []
        while asked := list(islice(groups, _COMMANDS)):
            commands = [("EXISTS", *(bucket.store_key for bucket in together)) for together in asked]
            counts = await self._call_many(commands)
            found += (
                each for together, count in zip(asked, counts, strict=True) if count for each in together
            )
        return found

    async def counters(
        self, buckets: Iterable[C], *, key: str | None = None
    ) -> AsyncIterator[tuple[C, dict[bytes, bytes]]]:
        """The counters of each bucket: name -> figure, as they are stored; of one virtual key or of all.

        Empty buckets are left out. They come in any order.
        """
        match = () if key is None else ("MATCH", f"{key}{SEPARATOR}*")
        fresh = iter(buckets)
        scans: deque[_Scan[C]] = deque()
        while True:
            room = (_IN_PARTS if scans else _AT_ONCE) - len(scans)
            scans.extend(_Scan(bucket) for bucket in islice(fresh, max(0, room)))
            if not scans:
                return
            count = max(100, _PER_WRITE // len(scans))
            commands = [
                ("HSCAN", scan.bucket.store_key, scan.cursor, *match, "COUNT", count) for scan in scans
            ]
            for cursor, flat in await self._call_many(commands):
                scan = scans.popleft()
                # A hash that grows during its scan may give a counter twice: the later figure counts.
                scan.found.update(zip(flat[::2], flat[1::2], strict=True))
                scan.cursor = cursor
                if cursor != b"0":
                    scans.append(scan)
                elif scan.found:
                    yield scan.bucket, scan.found

    async def _call_many(self, commands: Sequence[tuple[str | bytes | int, ...]]) -> list[Any]:
        replies = await self._store.call_many(commands)
        for reply in replies:
            if isinstance(reply, StoreReplyError):
                raise reply
        return replies


def _together(buckets: Iterable[C], at_most: int) -> Iterator[list[C]]:
    """The buckets in groups of one shard: a command may name keys of one slot only."""
    for _, of_shard in groupby(buckets, key=lambda bucket: bucket.shard):
        while together := list(islice(of_shard, at_most)):
            yield together
