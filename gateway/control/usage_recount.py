"""What the counters of one shard should be, by its events. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.control.usage_records import Counted
from gateway.control.usage_rows import HOUR_S, Group, counter_name, name_of
from gateway.limits.values import METRICS, UsageFigures
from gateway.store.usage import SEPARATOR, Bucket, KeyBucket
from gateway.store.usage_events import START

KEY_METRICS = UsageFigures.__struct_fields__
"""What is counted of a virtual key by day and month."""

AnyBucket = Bucket | KeyBucket
_Names = list[bytes | None]  # under which each of METRICS is counted; None: not here


class Recount:
    """The counters of a shard as its events have them, up to `position`.

    Args:
        key_names: the days and months (`yyyymmdd`, `yyyymm`) for which single keys are counted too.
    """

    def __init__(self, shard: str, key_names: Iterable[str]) -> None:
        self.shard = shard
        self.position = START
        self.events = 0
        self._key_names = frozenset(key_names)
        self._sums: dict[AnyBucket, dict[bytes, int]] = {}
        self._places: dict[tuple[int, Group], list[tuple[dict[bytes, int], _Names]]] = {}

    def add(self, moves: Iterable[Counted]) -> None:
        """Take in what an event did."""
        self.events += 1
        for sign, at_ms, dimensions, figures in moves:
            place = (at_ms // (HOUR_S * 1000), dimensions)
            targets = self._places.get(place)
            if targets is None:
                targets = self._places[place] = self._targets(*place)
            for sums, names in targets:
                for name, figure in zip(names, figures, strict=True):
                    if figure and name is not None:
                        sums[name] = sums.get(name, 0) + sign * figure

    def of(self, bucket: AnyBucket) -> Mapping[bytes, int]:
        """What the counters of a bucket should be; 0 where one is not named."""
        return self._sums.get(bucket, {})

    @property
    def buckets(self) -> list[AnyBucket]:
        """The buckets that have any."""
        return list(self._sums)

    @property
    def keys(self) -> list[str]:
        """The virtual keys that any event is of, each once."""
        return list(dict.fromkeys(dimensions[0] for _, dimensions in self._places))

    def _targets(self, hour_number: int, dimensions: Group) -> list[tuple[dict[bytes, int], _Names]]:
        hour = name_of("hour", hour_number * HOUR_S)
        day, month, key = hour[:8], hour[:6], dimensions[0]
        names: _Names = [counter_name(dimensions, metric) for metric in METRICS]
        key_names: _Names = [metric.encode() if metric in KEY_METRICS else None for metric in METRICS]
        targets: list[tuple[AnyBucket, _Names]] = [
            (Bucket(self.shard, "hour", hour), names),
            (Bucket(self.shard, "day", day), names),
            *((KeyBucket(key, name), key_names) for name in (day, month) if name in self._key_names),
        ]
        return [(self._sums.setdefault(bucket, {}), bucket_names) for bucket, bucket_names in targets]


def is_counter(bucket: AnyBucket, name: bytes) -> bool:
    """True for what settlements count in a bucket under this name: other versions may count more."""
    metric = name.decode("utf-8", "replace").rpartition(SEPARATOR)[2]
    return metric in (METRICS if isinstance(bucket, Bucket) else KEY_METRICS)
