"""What the control process keeps: the sum over all workers, rendered for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.telemetry.metrics import ALL, Metric

SOURCES_KEPT = 64
"""Sources remembered by themselves after their worker has left; beyond that the eldest become one sum."""

Labels = tuple[str, ...]


@dataclass(slots=True)
class _Series:
    """Figures of one source: a number for a counter, one count a bucket and then the sum for a histogram."""

    counters: dict[tuple[str, Labels], float] = field(default_factory=dict)
    cells: dict[tuple[str, Labels], list[float]] = field(default_factory=dict)

    def add(self, other: _Series) -> None:
        for series, value in other.counters.items():
            self.counters[series] = self.counters.get(series, 0) + value
        for series, cell in other.cells.items():
            mine = self.cells.get(series)
            self.cells[series] = (
                list(cell) if mine is None else [a + b for a, b in zip(mine, cell, strict=True)]
            )


class Registry(Collector):
    """Adds up the reports of all workers (`Counters.take_delta` and `Counters.totals`).

    Counters and histograms only grow: what a worker counted stays when it leaves. Gauges are the sum over
    the workers that are there.
    """

    def __init__(self, metrics: Iterable[Metric] = ALL) -> None:
        self._metrics = tuple(metrics)
        self._by_source: dict[str, _Series] = {}
        self._source_of: dict[object, str] = {}
        self._gauges: dict[object, dict[tuple[str, Labels], float]] = {}
        self._left: list[str] = []
        self._folded = _Series()
        self._prometheus = CollectorRegistry(auto_describe=False)
        self._prometheus.register(self)

    def apply(self, worker_id: object, report: Mapping[str, Any]) -> None:
        """Take in a worker's report; an empty one says nothing. `worker_id` is whatever `forget` gets."""
        if not report:
            return
        source = report["source"]
        fresh = _read(report)
        if report["full"] or source not in self._by_source:
            self._by_source[source] = fresh
        else:
            self._by_source[source].add(fresh)
        if source in self._left:
            self._left.remove(source)  # it had only lost its connection
        self._source_of[worker_id] = source
        self._gauges[worker_id] = {
            (name, tuple(labels)): value for name, rows in report["gauges"].items() for labels, value in rows
        }

    def forget(self, worker_id: object) -> None:
        """A worker has left: its gauges go, what it counted stays."""
        self._gauges.pop(worker_id, None)
        source = self._source_of.pop(worker_id, None)
        if source is None or source in self._source_of.values():
            return
        self._left.append(source)
        while len(self._left) > SOURCES_KEPT:
            self._folded.add(self._by_source.pop(self._left.pop(0)))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type: OpenMetrics or plain text, as the header `accept` asks."""
        encode, content_type = choose_encoder(accept)
        return encode(self._prometheus), content_type

    def counted(self, metric: Metric) -> dict[Labels, float]:
        """What a counter stands at, by its labels."""
        counters = self._sums().counters
        return {labels: value for (name, labels), value in counters.items() if name == metric.name}

    def _sums(self) -> _Series:
        sums = _Series()
        sums.add(self._folded)
        for series in self._by_source.values():
            sums.add(series)
        return sums

    def collect(self) -> Iterator[Family]:
        """Every metric, those without a series too. Part of prometheus-client's `Collector`."""
        sums = self._sums()
        gauges: dict[tuple[str, Labels], float] = {}
        for standing in self._gauges.values():
            for key, value in standing.items():
                gauges[key] = gauges.get(key, 0) + value
        for metric in self._metrics:
            yield _family(metric, sums, gauges)


def _read(report: Mapping[str, Any]) -> _Series:
    return _Series(
        {(name, tuple(labels)): value for name, rows in report["counters"].items() for labels, value in rows},
        {
            (name, tuple(labels)): [*counts, total]
            for name, rows in report["histograms"].items()
            for labels, counts, total in rows
        },
    )


def _family(metric: Metric, sums: _Series, gauges: Mapping[tuple[str, Labels], float]) -> Family:
    # A metric without labels has exactly one series, and that is there from the start: a rate() needs a zero.
    always: tuple[Labels, ...] = () if metric.labels else ((),)
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
        for labels in _labels_of(metric, sums.cells, always):
            cell = sums.cells.get((metric.name, labels), [0] * (len(bounds) + 1))
            buckets = list(zip(bounds, accumulate(cell[:-1]), strict=True))
            histogram.add_metric(labels, buckets, cell[-1])
        return histogram
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "counter":
        family, values = CounterMetricFamily(metric.name, metric.help, labels=metric.labels), sums.counters
    else:
        family, values = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels), dict(gauges)
    for labels in _labels_of(metric, values, always):
        family.add_metric(labels, values.get((metric.name, labels), 0))
    return family


def _labels_of(
    metric: Metric, series: Iterable[tuple[str, Labels]], always: tuple[Labels, ...]
) -> list[Labels]:
    return sorted({labels for name, labels in series if name == metric.name}.union(always))
