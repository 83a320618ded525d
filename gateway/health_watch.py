"""Tells people what routing finds out of upstreams: one log line for each change, and a metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import structlog

from gateway.routing.circuit import State
from gateway.routing.health import Kind
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import BREAKER_STATE

log = structlog.get_logger(__name__)

_OPENED = {
    "breaker": "an upstream fails again and again; it rests",
    "credential": "an upstream refuses a credential; it rests",
    "model": "an upstream does not have a model any more; it is not asked for it",
}
_CLOSED = {
    "breaker": "an upstream serves again",
    "credential": "an upstream accepts a credential again",
    "model": "an upstream has a model again",
}


class HealthWatch:
    """What `Health` tells its changes to."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._open: Counter[str] = Counter()

    def changed(self, kind: Kind, upstream: str, subject: Hashable, state: State) -> None:
        """Something of an upstream changed its state."""
        if kind == "breaker":
            self._open[upstream] += 1 if state == "open" else -1
            self._counters.set(BREAKER_STATE, (upstream,), self._open[upstream])
        what = {"model": subject} if kind == "model" else {"credential": _place(subject)}
        if state == "open":
            log.warning(_OPENED[kind], upstream=upstream, **what)
        else:
            log.info(_CLOSED[kind], upstream=upstream, **what)


def _place(credential: Hashable) -> int:
    """Its place in `api_keys`, from 1."""
    return int(str(credential)) + 1
