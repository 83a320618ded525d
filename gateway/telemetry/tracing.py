"""Traces of requests: begun on the loop, where that costs ids only; made into spans in a thread.

Nothing of OpenTelemetry is imported here: `otlp.py` does, and it is loaded where the configuration asks.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from gateway.domain.facts import Facts
from gateway.domain.trace import SAMPLED, TraceContext, parse_trace

MOST_WAITING = 20_000
"""Requests that may wait to be sent, some 2 KiB each; the eldest go first."""

Ended = tuple[Facts, float]
"""A request, and the reading of the monotonic clock when it was over."""


class Exporter(Protocol):
    """Sends what requests were. Called in one thread, and may block."""

    def export(self, ended: Sequence[Ended], offset_s: float) -> None:
        """Send them; `offset_s` added to a reading of the monotonic clock is unix time."""

    def close(self) -> None:
        """Send what is left, within a second or two."""


class Tracing:
    """Begins traces and hands requests that are over to a thread.

    Args:
        exporter: sends them.
        sample_ratio: of the traces that begin here.
        interval_s: between two sendings.
    """

    def __init__(self, exporter: Exporter, *, sample_ratio: float, interval_s: float) -> None:
        self._exporter = exporter
        self._ratio = sample_ratio
        self._interval_s = interval_s
        self._waiting: deque[Ended] = deque(maxlen=MOST_WAITING)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def begin(self, parent: bytes | None, state: bytes | None) -> TraceContext:
        """The trace of a request: its caller's, who says whether it is sampled, or a new one."""
        given = parse_trace(parent, state) if parent is not None else None
        span_id = secrets.token_hex(8)
        if given is not None:
            return TraceContext(
                given.trace_id, span_id, given.span_id, given.flags & SAMPLED, given.state, is_ours=True
            )
        flags = SAMPLED if random.random() < self._ratio else 0  # noqa: S311 - a choice, no secret
        return TraceContext(secrets.token_hex(16), span_id, None, flags, None, is_ours=True)

    def ended(self, facts: Facts, now: float) -> None:
        """Hand over a request that is over."""
        self._waiting.append((facts, now))

    def close(self, timeout_s: float = 3.0) -> None:
        """Send what waits and end; a collector that hangs is left alone after `timeout_s`. Blocks."""
        self._is_over.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._is_over.wait(self._interval_s):
            self._send()
        self._send()
        self._exporter.close()

    def _send(self) -> None:
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if batch:
            self._exporter.export(batch, time.time() - time.monotonic())
