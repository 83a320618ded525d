"""Usage of a period, from the counters: which buckets to read, and their sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.auth.virtual_key import is_key_id
from gateway.control.usage_query import Period, UsageQuery
from gateway.control.usage_rows import (
    DAY_S,
    DIMENSIONS,
    HOUR_S,
    HOURS_KEPT_S,
    Figures,
    Group,
    UsageSums,
    buckets_of,
    ceil,
    floor,
    iso_of,
    no_usage,
)
from gateway.domain.errors import InvalidRequest
from gateway.store.usage import SHARDS, Bucket, Span, UsageReader

_TIMES: tuple[Span, ...] = ("day", "hour")


class Stretch(NamedTuple):
    """A time to be read from buckets of one span; unix seconds, whole buckets."""

    span: Span
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What was asked, answered: one row a group, in the order of the groups.

    `period` is what the rows stand for: whole hours, or whole days where hours are no longer kept.
    """

    period: Period
    rows: list[tuple[Group, Figures]]


class UsageService:
    """Sums of the counters.

    Args:
        clock: unix seconds.
    """

    def __init__(self, reader: UsageReader, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._clock = clock

    async def usage(self, query: UsageQuery) -> Usage:
        """The sums of a period by group; without groups one row, of zeros where there is nothing.

        Raises `InvalidRequest` for hours that are no longer kept, `StoreAway`.
        """
        period, stretches = plan(query.period, self._clock(), by_hour="hour" in query.groups)
        times = [span for span in _TIMES if span in query.groups]
        dimensions = [name for name in query.groups if name in DIMENSIONS]

        def prefix(bucket: Bucket) -> Group:
            return tuple(iso_of(span, bucket) for span in times)

        sums = await self.sums(stretches, dimensions, query.only, prefix)
        order = [[*times, *dimensions].index(name) for name in query.groups]
        rows = sorted((tuple(group[place] for place in order), figures) for group, figures in sums.items())
        return Usage(period, rows if rows or query.groups else [((), no_usage())])

    async def sums(
        self,
        stretches: Sequence[Stretch],
        dimensions: Sequence[str],
        only: Mapping[str, frozenset[str]],
        prefix: Callable[[Bucket], Group],
    ) -> dict[Group, Figures]:
        """The sums by what `prefix` says of a bucket and by the dimensions, as far as `only` lets them in."""
        keys = only.get("key")
        shards = SHARDS if keys is None else sorted({key[:2] for key in keys if is_key_id(key)})
        key = next(iter(keys)) if keys is not None and len(keys) == 1 else None
        sums = UsageSums(dimensions, only)
        for stretch in stretches:
            buckets = buckets_of(stretch.span, stretch.start, stretch.end, shards)
            existing = await self._reader.existing(buckets)
            async for bucket, counters in self._reader.counters(existing, key=key):
                sums.add(counters, prefix(bucket))
        return sums.sums


def plan(period: Period, now: float, *, by_hour: bool) -> tuple[Period, list[Stretch]]:
    """What to read for a period: whole days by day, the rest by hour; returns the period that this covers.

    Bounds within an hour are moved outwards to its ends; so are bounds within a day whose hours are gone.
    Raises `InvalidRequest` where rows by hour are asked for of a time whose hours are gone.
    """
    latest = ceil(now, DAY_S) + DAY_S  # nothing was counted in the future, but clocks differ
    first_hour = floor(now - HOURS_KEPT_S, DAY_S) + DAY_S
    start, end = floor(period.start, HOUR_S), min(ceil(period.end, HOUR_S), latest)
    if start >= end:
        return Period(start, max(start, end)), []
    if by_hour:
        if start < first_hour:
            raise InvalidRequest("Hours are kept for 400 days: ask for a later time, or by day.", "group_by")
        return Period(start, end), [Stretch("hour", start, end)]
    if start < first_hour:
        start = floor(start, DAY_S)
    if end < first_hour:
        end = ceil(end, DAY_S)
    days_start, days_end = ceil(start, DAY_S), floor(end, DAY_S)
    if days_start >= days_end:
        return Period(start, end), [Stretch("hour", start, end)]
    stretches = [
        Stretch("hour", start, days_start),
        Stretch("day", days_start, days_end),
        Stretch("hour", days_end, end),
    ]
    return Period(start, end), [stretch for stretch in stretches if stretch.start < stretch.end]
