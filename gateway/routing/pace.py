"""How long targets take until they commit: what a hedge goes by."""

from __future__ import annotations

from collections import deque

KEPT = 100
LEAST = 20
"""Fewer times say nothing."""


class Pace:
    """The last times of each target, of one process. Seconds."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str, bool], deque[float]] = {}

    def took(self, upstream: str, model: str, seconds: float, *, stream: bool) -> None:
        """An attempt committed after so many seconds: with its first content, or with a whole reply."""
        times = self._times.get((upstream, model, stream))
        if times is None:
            times = self._times[upstream, model, stream] = deque(maxlen=KEPT)
        times.append(seconds)

    def p95(self, upstream: str, model: str, *, stream: bool) -> float | None:
        """What 95 of 100 attempts take at most; None where too few are known."""
        times = self._times.get((upstream, model, stream), ())
        if len(times) < LEAST:
            return None
        return sorted(times)[int(0.95 * len(times))]
