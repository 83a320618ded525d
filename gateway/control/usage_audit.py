"""Whether the counters say what the ledger says, and how they are set right while calls go on.

A settlement writes its event and moves its counters in one step, so at every moment the counters of a shard
are the sum of its events so far. That is what an audit of a shard rests on:

1. It adds up the events to the present end of the ledger.
2. It reads the counters, a few at a time. Calls are settled meanwhile, so a counter that differs from the sum
   is no more than a suspect.
3. It reads the suspects again, together with where the ledger ends at that very moment, adds the events up to
   there to the sum, and compares the two. What differs now is wrong, whatever is being settled.
4. To repair, it moves the counter by that difference. Settlements that come in between move both sides
   alike, so the difference stays what it was. Two repairs at once would move it twice: so a repair begins
   with step 3 under a token, and the move is refused where another repair has begun since.

Compared are the counters of usage by day and hour, and those of single keys, which their budgets go by, for
the last days and months. Where the ledger has been trimmed, what began before its oldest event is gone and
cannot be added up again: such days and months are named and left as they are. So is all of a shard that has
counters and no ledger.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.control.errors import Conflict
from gateway.control.usage_records import BATCH, counted
from gateway.control.usage_recount import AnyBucket, Recount, is_counter
from gateway.control.usage_rows import (
    DAY_S,
    DIMENSIONS,
    HOUR_S,
    HOURS_KEPT_S,
    buckets_of,
    ceil,
    floor,
    iso_of,
    name_of,
    seconds_of,
)
from gateway.store.usage import SEPARATOR, SHARDS, Bucket, KeyBucket, UsageReader
from gateway.store.usage_audit import AuditStore, Moment
from gateway.store.usage_events import START, EventSequence, LedgerReader, Position

Line = dict[str, Any]
"""One JSON object of an audit's answer."""

_TOGETHER = 200  # suspects looked at in one moment
_CLOCKS_DIFFER_S = HOUR_S  # by less than this, between processes that serve and the store
_KEY_DAYS = 3  # days of single keys that are still there for sure
_FIRST_DAY = 1_735_689_600  # 2025-01-01: older than the first Tunegate, so nothing was counted before


@dataclass(slots=True)
class Audit:
    """One run of an audit; `lines` is its course, to be shown as it goes.

    Args:
        repair: set what is wrong.
        token: of this run, unlike any other's.
        now: unix seconds.
    """

    reader: UsageReader
    ledger: LedgerReader
    store: AuditStore
    repair: bool
    token: str
    now: float
    _events: int = 0
    _counters: int = 0
    _differences: int = 0
    _repaired: int = 0
    _gone: set[str] = field(default_factory=set)

    async def lines(self) -> AsyncIterator[Line]:
        """A line for each difference, one now and then, one at the end of each shard, and one at the end.

        Raises `StoreAway`, and `Conflict` where somebody else repairs at the same time.
        """
        keys = await self.store.virtual_keys()
        for shard in SHARDS:
            async for line in self._shard(shard, keys.get(shard, [])):
                yield line
            yield {"object": "ledger.audit.shard", "shard": shard, "events": self._events}
        yield {
            "object": "ledger.audit",
            "events": self._events,
            "counters": self._counters,
            "differences": self._differences,
            "repaired": self._repaired,
            "not_compared": sorted(self._gone),
        }

    async def _shard(self, shard: str, keys: Iterable[str]) -> AsyncIterator[Line]:
        recount = Recount(shard, self._key_names())
        async for events in self._added(recount, (await self.ledger.ends([shard])).get(shard, START)):
            yield {"object": "ledger.audit.progress", "shard": shard, "events": self._events + events}
        moment = await self._moment(Bucket(shard, "day", name_of("day", 0)), [])
        begin = _whole_since_s(moment)
        counted = {bucket for bucket in recount.buckets if self._is_kept(bucket)}
        existing = await self._existing(recount, keys)
        self._gone |= {_time_of(bucket) for bucket in existing if _begin_s(bucket) < begin}
        missing = {bucket for bucket in counted - set(existing) if _begin_s(bucket) >= begin}
        compared = [bucket for bucket in existing if _begin_s(bucket) >= begin]
        async for bucket, counters in self.reader.counters(compared):
            async for difference in self._bucket(bucket, recount, counters):
                yield difference
        for bucket in sorted(missing, key=lambda bucket: bucket.store_key):
            async for difference in self._bucket(bucket, recount, {}):
                yield difference
        self._events += recount.events

    async def _bucket(
        self, bucket: AnyBucket, recount: Recount, counters: Mapping[bytes, bytes]
    ) -> AsyncIterator[Line]:
        """The counters of a bucket that differ for sure."""
        expected = recount.of(bucket)
        names = [name for name in counters.keys() | expected.keys() if is_counter(bucket, name)]
        self._counters += len(names)
        suspects = sorted(name for name in names if int(counters.get(name, 0)) != expected.get(name, 0))
        for start in range(0, len(suspects), _TOGETHER):
            wrong = await self._compare(bucket, suspects[start : start + _TOGETHER], recount)
            if wrong and self.repair:
                wrong = await self._compare(bucket, list(wrong), recount, token=self.token)
                await self._set(bucket, wrong, recount)
            self._differences += len(wrong)
            for name, figure in wrong.items():
                yield _difference(bucket, name, figure, recount.of(bucket).get(name, 0), self.repair)

    async def _compare(
        self, bucket: AnyBucket, names: Sequence[bytes], recount: Recount, *, token: str = ""
    ) -> dict[bytes, int]:
        """Those of the counters that differ from the events at one moment, with their figures then."""
        moment = await self._moment(bucket, names, token=token)
        async for _ in self._added(recount, moment.end):
            pass
        expected = recount.of(bucket)
        figures = zip(names, moment.figures, strict=True)
        return {name: figure for name, figure in figures if figure != expected.get(name, 0)}

    async def _set(self, bucket: AnyBucket, wrong: Mapping[bytes, int], recount: Recount) -> None:
        expected = recount.of(bucket)
        moves = {name: expected.get(name, 0) - figure for name, figure in wrong.items()}
        if not await self.store.repair(bucket, moves, token=self.token, lives_ms=1000 * _lives_s(bucket)):
            raise Conflict(_SOMEBODY_ELSE)
        self._repaired += len(moves)

    async def _moment(self, bucket: AnyBucket, names: Sequence[bytes], *, token: str = "") -> Moment:
        moment = await self.store.at_once(bucket, names, token=token)
        if moment is None:
            raise Conflict(_SOMEBODY_ELSE)
        return moment

    async def _added(self, recount: Recount, end: Position) -> AsyncIterator[int]:
        """Add the events up to `end` to the recount; says now and then how many it has."""
        if end > recount.position:
            shard = recount.shard
            sequence = EventSequence(self.ledger, {shard: recount.position}, {shard: end})
            async for events in sequence.batches(BATCH):
                for event in events:
                    recount.add(counted(event))
                yield recount.events
            recount.position = end

    def _is_kept(self, bucket: AnyBucket) -> bool:
        """False for an hour that has expired, of which there may still be events."""
        is_hour = isinstance(bucket, Bucket) and bucket.span == "hour"
        return not is_hour or _begin_s(bucket) >= self.now - HOURS_KEPT_S

    async def _existing(self, recount: Recount, keys: Iterable[str]) -> list[AnyBucket]:
        """Every bucket that there is, of the shard and of its keys. No hour is counted without its day."""
        end = self.now + _CLOCKS_DIFFER_S
        days = await self.reader.existing(buckets_of("day", _FIRST_DAY, ceil(end, DAY_S), [recount.shard]))
        begins = map(_begin_s, days)
        of_days = (buckets_of("hour", begin, begin + DAY_S, [recount.shard]) for begin in begins)
        hours = (hour for of_day in of_days for hour in of_day if self._is_kept(hour))
        known = dict.fromkeys(keys) | dict.fromkeys(recount.keys)
        of_keys = (KeyBucket(key, name) for key in known for name in self._key_names())
        return [*days, *await self.reader.existing(hours), *await self.reader.existing(of_keys)]

    def _key_names(self) -> Iterator[str]:
        """The days and months for which single keys are compared."""
        days = [name_of("day", floor(self.now, DAY_S) - back * DAY_S) for back in range(_KEY_DAYS)]
        this_month = days[0][:6]
        last_month = name_of("day", seconds_of(f"{this_month[:4]}-{this_month[4:]}-01") - 1)[:6]
        yield from (*days, this_month, last_month)


def _whole_since_s(moment: Moment) -> float:
    """Since when no event is gone, unix seconds: what began then or later can be added up again."""
    if moment.end == START:
        return math.inf
    if not moment.lost:
        return 0
    # An event is written when its request ends, so what was dropped came before the oldest that is left.
    return (moment.oldest or moment.end)[0] / 1000 + _CLOCKS_DIFFER_S


def _begin_s(bucket: AnyBucket) -> int:
    """When a bucket begins, unix seconds."""
    name = bucket.name
    return seconds_of(f"{name[:4]}-{name[4:6]}-{name[6:8] or '01'}T{name[8:10] or '00'}:00:00Z")


def _lives_s(bucket: AnyBucket) -> int:
    """How long a bucket is kept, as settle.lua has it; 0 = for ever."""
    if isinstance(bucket, Bucket):
        return 0 if bucket.span == "day" else HOURS_KEPT_S
    return (4 if len(bucket.name) == len("yyyymmdd") else 64) * DAY_S


def _difference(bucket: AnyBucket, name: bytes, counter: int, ledger: int, is_repaired: bool) -> Line:
    *values, metric = name.decode("utf-8", "replace").split(SEPARATOR)
    if not isinstance(bucket, Bucket):
        values = [bucket.key]
    values += [""] * (len(DIMENSIONS) - len(values))
    return {
        "object": "ledger.audit.difference",
        "of": "usage" if isinstance(bucket, Bucket) else "key",
        "time": iso_of(bucket.span, bucket) if isinstance(bucket, Bucket) else _time_of(bucket),
        **dict(zip(DIMENSIONS, (value or None for value in values), strict=False)),
        "metric": metric,
        "counter": counter,
        "ledger": ledger,
        "repaired": is_repaired,
    }


def _time_of(bucket: AnyBucket) -> str:
    """The day or month that a bucket counts, or is an hour of: 2026-01-31, 2026-01."""
    name = bucket.name
    return "-".join(filter(None, (name[:4], name[4:6], name[6:8])))


_SOMEBODY_ELSE = "Another audit repairs this ledger's counters right now. Try again in a moment."
