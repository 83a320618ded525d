"""Sums of usage: counters in, one row a group out. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.domain.money import usd
from gateway.limits.values import METRICS, Dimensions
from gateway.store.usage import SEPARATOR, Bucket, Span

HOUR_S = 3600
DAY_S = 24 * HOUR_S

DIMENSIONS = Dimensions.__struct_fields__
"""What usage is counted by, in the order of a counter's name."""

HOURS_KEPT_S = 400 * DAY_S
"""How long the counters of an hour are kept; those of a day are kept for ever."""

Figures = list[int]
"""One figure for each of `METRICS`, in their order."""

Group = tuple[str, ...]
"""The values that one row stands for; "" where a dimension has none."""

_INDEX = {metric: index for index, metric in enumerate(METRICS)}
_COST, _REQUESTS, _UNPRICED = (_INDEX[name] for name in ("cost_nanousd", "requests", "unpriced_requests"))
_FORMATS: Mapping[Span, str] = {"day": "%Y%m%d", "hour": "%Y%m%d%H"}


class UsageSums:
    """Adds up counters by group.

    Args:
        groups: the dimensions that a group consists of.
        only: the values that count, by dimension; all where a dimension is not named.
    """

    def __init__(self, groups: Sequence[str], only: Mapping[str, frozenset[str]]) -> None:
        self._places = [DIMENSIONS.index(name) for name in groups]
        self._only = [(DIMENSIONS.index(name), values) for name, values in only.items()]
        self._known: dict[bytes, tuple[Group, int] | None] = {}
        self.sums: dict[Group, Figures] = {}

    def add(self, counters: Mapping[bytes, bytes], prefix: Group = ()) -> None:
        """Take in counters by their names; `prefix` comes before the group's own values."""
        known, sums = self._known, self.sums
        for name, figure in counters.items():
            try:
                place = known[name]
            except KeyError:
                place = known[name] = self._place(name)
            if place is not None and (amount := int(figure)):  # what was corrected or repaired to 0 is no row
                group = prefix + place[0]
                figures = sums.get(group)
                if figures is None:
                    figures = sums[group] = [0] * len(METRICS)
                figures[place[1]] += amount

    def _place(self, name: bytes) -> tuple[Group, int] | None:
        """Where a counter of this name belongs; None where it does not count."""
        *values, metric = name.decode("utf-8", "replace").split(SEPARATOR)
        is_ours = metric in _INDEX and len(values) == len(DIMENSIONS)  # another version may count more
        if not is_ours or any(values[place] not in wanted for place, wanted in self._only):
            return None
        return tuple(values[place] for place in self._places), _INDEX[metric]


def counter_name(dimensions: Iterable[str], metric: str) -> bytes:
    """The name under which a figure is counted in a bucket."""
    return SEPARATOR.join((*dimensions, metric)).encode()


def no_usage() -> Figures:
    """The figures of nothing."""
    return [0] * len(METRICS)


def shown_figures(figures: Figures) -> dict[str, Any]:
    """The figures of a row by their names, money also as decimal US dollars.

    The cost is that of the requests whose price is known, and None where there are requests and no price of
    any of them is known.
    """
    shown: dict[str, Any] = dict(zip(METRICS, figures, strict=True))
    if figures[_REQUESTS] and figures[_UNPRICED] >= figures[_REQUESTS] and not figures[_COST]:
        shown["cost_nanousd"] = None
    return {**shown, **dollars(shown)}


def dollars(money: Mapping[str, Any]) -> dict[str, str | None]:
    """What was spent and saved, as decimal US dollars beside the nano-dollars; None where unknown."""
    return {
        f"{name}_usd": None if (nanousd := money.get(f"{name}_nanousd")) is None else usd(nanousd)
        for name in ("cost", "saved")
    }


def buckets_of(span: Span, start: int, end: int, shards: Iterable[str]) -> Iterable[Bucket]:
    """Every bucket of a time that begins and ends with one, shard by shard. Unix seconds."""
    names = [name_of(span, second) for second in range(start, end, DAY_S if span == "day" else HOUR_S)]
    return (Bucket(shard, span, name) for shard in shards for name in names)


def name_of(span: Span, second: int) -> str:
    """The name of the bucket that this second, unix time, falls into."""
    return datetime.fromtimestamp(second, UTC).strftime(_FORMATS[span])


def start_of(bucket: Bucket) -> int:
    """When a bucket begins, unix seconds."""
    return int(datetime.strptime(bucket.name, _FORMATS[bucket.span]).replace(tzinfo=UTC).timestamp())


def seconds_of(iso: str) -> int:
    """When a day or hour as `iso_of` writes it begins, unix seconds."""
    return int(datetime.fromisoformat(iso).replace(tzinfo=UTC).timestamp())


def iso_of(span: Span, bucket: Bucket) -> str:
    """The day or hour of a bucket as people write it: 2026-01-31, or 2026-01-31T12:00:00Z."""
    name = bucket.name
    day = f"{name[:4]}-{name[4:6]}-{name[6:8]}"
    return day if span == "day" else f"{day}T{name[8:10]}:00:00Z"


def floor(second: float, width_s: int) -> int:
    """The begin of the day, hour or other width that a second falls into."""
    return int(second // width_s) * width_s


def ceil(second: float, width_s: int) -> int:
    """The end of it; a second that begins one is its own end."""
    return -int(-second // width_s) * width_s
