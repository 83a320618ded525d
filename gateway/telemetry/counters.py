"""What one worker counts.

Counting touches one small dict and nothing else: no lock (one thread counts), no label checks, no strings
made. Reports are plain values, ready for JSON, in one shape for deltas and totals:

    {"source": "9f…", "full": false,
     "counters":   {name: [[labels, increase], …]},
     "gauges":     {name: [[labels, value], …]},             always all of them, as they stand now
     "histograms": {name: [[labels, [one count a bucket, the infinite one last], sum], …]}}

`source` names this counting process and `full` says that the figures count from its start, so that whoever
adds up may be told everything again at any time without counting it twice.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.telemetry.metrics import ALL, Metric

Labels = tuple[str, ...]
_Numbers = dict[Labels, float]
_Cells = dict[Labels, list[float]]  # one count for each bucket, the infinite one, then the sum


class Counters:
    """Counters, gauges and histograms of one process. Labels are tuples in the order of `Metric.labels`."""

    def __init__(self, metrics: Iterable[Metric] = ALL) -> None:
        metrics = tuple(metrics)
        self._source = secrets.token_hex(8)
        self._metrics = {kind: [each for each in metrics if each.kind == kind] for kind in _KINDS}
        self._gauges: dict[Metric, _Numbers] = {each: {} for each in self._metrics["gauge"]}
        self._new: dict[Metric, defaultdict[Labels, float]] = {
            each: defaultdict(int) for each in self._metrics["counter"]
        }
        self._new_cells: dict[Metric, _Cells] = {each: {} for each in self._metrics["histogram"]}
        self._all: dict[Metric, _Numbers] = {each: {} for each in self._metrics["counter"]}
        self._all_cells: dict[Metric, _Cells] = {each: {} for each in self._metrics["histogram"]}
        self._is_gauge_new = False
        self._followed: list[tuple[Metric, Callable[[], float]]] = []
        self._feeders: list[Callable[[], None]] = []

    def inc(self, metric: Metric, labels: Labels = (), n: float = 1) -> None:
        """Let a counter grow by `n`."""
        self._new[metric][labels] += n

    def numbers(self, metric: Metric) -> defaultdict[Labels, float]:
        """What a counter grew by since the last report, for whoever adds to it on every call's way."""
        return self._new[metric]

    def counting(self, metric: Metric) -> Callable[[str], None]:
        """What lets a counter of one label grow by 1, told the label's value."""
        numbers = self._new[metric]

        def count(value: str) -> None:
            numbers[(value,)] += 1

        return count

    def observe(self, metric: Metric, labels: Labels, seconds: float) -> None:
        """Put one observation into a histogram."""
        cells = self._new_cells[metric]
        cell = cells.get(labels)
        if cell is None:
            cell = cells[labels] = [0] * (len(metric.buckets) + 2)
        cell[bisect_left(metric.buckets, seconds)] += 1
        cell[-1] += seconds

    def observe_all(self, metric: Metric, seconds: list[float]) -> None:
        """Put many observations into a histogram without labels, cheaper than one by one."""
        if not seconds:
            return
        cell = self._new_cells[metric].setdefault((), [0] * (len(metric.buckets) + 2))
        cell[-1] += sum(seconds)
        ascending, below = sorted(seconds), 0
        for place, bound in enumerate(metric.buckets):
            upto = bisect_right(ascending, bound, below)
            cell[place] += upto - below
            below = upto
        cell[-2] += len(ascending) - below

    def set(self, metric: Metric, labels: Labels, value: float) -> None:
        """Say what a gauge stands at."""
        self._gauges[metric][labels] = value
        self._is_gauge_new = True

    def replace(self, metric: Metric, values: Mapping[Labels, float]) -> None:
        """Say what all series of a gauge stand at; those that are not named end."""
        self._gauges[metric] = dict(values)
        self._is_gauge_new = True

    def follow(self, metric: Metric, read: Callable[[], float]) -> None:
        """Let a gauge without labels stand at what `read` returns whenever there is a report."""
        self._followed.append((metric, read))

    def before_reports(self, feed: Callable[[], None]) -> None:
        """Let `feed` say what it counted by itself whenever there is a report."""
        self._feeders.append(feed)

    def take_delta(self) -> dict[str, Any]:
        """The report of what was counted since the last report; empty where nothing was."""
        self._read_followed()
        has_news = self._is_gauge_new or any(self._new.values()) or any(self._new_cells.values())
        report = self._report(self._new, self._new_cells, full=False) if has_news else {}
        self._settle()
        return report

    def totals(self) -> dict[str, Any]:
        """The report of everything since the start; the next delta begins here."""
        self._read_followed()
        self._settle()
        return self._report(self._all, self._all_cells, full=True)

    def _read_followed(self) -> None:
        for feed in self._feeders:
            feed()
        for metric, read in self._followed:
            value = read()
            if self._gauges[metric].get(()) != value:
                self.set(metric, (), value)

    def _settle(self) -> None:
        """Move what is new to the totals."""
        for metric, numbers in self._new.items():
            for labels, n in numbers.items():
                self._all[metric][labels] = self._all[metric].get(labels, 0) + n
            numbers.clear()
        for metric, cells in self._new_cells.items():
            for labels, cell in cells.items():
                total = self._all_cells[metric].get(labels)
                self._all_cells[metric][labels] = (
                    cell if total is None else [a + b for a, b in zip(total, cell, strict=True)]
                )
            cells.clear()
        self._is_gauge_new = False

    def _report(
        self, counters: Mapping[Metric, _Numbers], cells: dict[Metric, _Cells], *, full: bool
    ) -> dict[str, Any]:
        return {
            "source": self._source,
            "full": full,
            "counters": _rows(counters),
            "gauges": _rows(self._gauges),
            "histograms": {
                metric.name: [[list(labels), cell[:-1], cell[-1]] for labels, cell in found.items()]
                for metric, found in cells.items()
                if found
            },
        }


_KINDS = ("counter", "gauge", "histogram")


def _rows(family: Mapping[Metric, _Numbers]) -> dict[str, list[list[Any]]]:
    return {
        metric.name: [[list(labels), value] for labels, value in numbers.items()]
        for metric, numbers in family.items()
        if numbers
    }
