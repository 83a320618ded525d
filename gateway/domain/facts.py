"""What is known about a request so far; filled in step by step, read by headers, log and metrics."""

from __future__ import annotations

import msgspec

from gateway.domain.settable import settable
from gateway.domain.trace import TraceContext
from gateway.domain.usage import Usage


def in_ms(seconds: float) -> float:
    """A span of time in milliseconds, to three decimals; `round` would take several times as long."""
    return int(seconds * 1e6 + 0.5) / 1000


@settable
class Tried(msgspec.Struct):
    """One attempt.

    `outcome` is "committed", a class of failure, or why it was given up: "client_left" until something else
    is known, "hedged" where another attempt was faster. `trace` is what the upstream is told of it;
    `began_at` and `ended_at` (None for the one that serves on) are readings of a monotonic clock. All three
    are kept for traced calls only.
    """

    upstream: str
    model: str
    outcome: str = "client_left"
    trace: TraceContext | None = None
    began_at: float = 0.0
    ended_at: float | None = None


@settable
class Facts(msgspec.Struct):
    """One request's facts. Times are readings of a monotonic clock, in seconds.

    Args:
        request_id: made by the gateway for every request.
        started_at: when the request's head was complete.
        overhead_ms: the gateway's own time until the answer's head left.
        upstream_s: time spent waiting for upstreams until the answer's head left.
        fallback: "none", or why the first target did not serve.
        first_token_at: when the first event with content came; streams only.
        last_byte_at: when the last byte of a stream came.
        attempts: how many were made.
        service_tier: the one that the upstream says it used.
        rate_limits: lines of a head that tell what is left of the key's limits.
        tried: each attempt, in the order they began.
        trace: the trace that the request is part of, if any.
        error_type: from the closed list of `telemetry/metrics.py`; None while all is well.
        cache: hit, miss, shared or bypass; None where the cache has no part in it.
        age_s: of an answer that was kept.
        saved_nanousd: what the answer would have cost without the cache.
    """

    request_id: str
    started_at: float
    method: str = ""
    path: str = ""
    route: str = "other"
    key_id: str | None = None
    client_request_id: str | None = None
    alias: str | None = None
    release: str | None = None
    requested: str | None = None
    model: str | None = None
    upstream: str | None = None
    upstream_request_id: str | None = None
    shutdown_date: str | None = None
    stream: bool = False
    attempts: int = 0
    fallback: str | None = None
    upstream_s: float = 0.0
    overhead_ms: float | None = None
    first_token_at: float | None = None
    last_byte_at: float | None = None
    status: int = 0
    error_type: str | None = None
    usage: Usage | None = None
    service_tier: str | None = None
    cost_nanousd: int | None = None
    rate_limits: bytes = b""
    tried: list[Tried] = []
    trace: TraceContext | None = None
    cache: str | None = None
    age_s: int | None = None
    saved_nanousd: int = 0

    @property
    def inter_token_s(self) -> float | None:
        """Mean time between the tokens of a complete stream; None where there are no two, or no figures."""
        if self.first_token_at is None or self.last_byte_at is None or self.error_type is not None:
            return None
        gaps = self.usage.completion_tokens - 1 if self.usage is not None else 0
        return max(0.0, self.last_byte_at - self.first_token_at) / gaps if gaps > 0 else None
