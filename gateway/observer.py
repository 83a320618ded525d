"""What is told of every request when it is over: metrics, and one access line."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

from gateway.domain.facts import Facts
from gateway.snapshot import Snapshots
from gateway.telemetry.access_log import AccessLine, AccessLog
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import (
    COST,
    FALLBACKS,
    IN_FLIGHT,
    INTER_TOKEN,
    NONE,
    OVERHEAD,
    REQUEST_DURATION,
    REQUESTS,
    TOKENS,
    TTFT,
    bounded,
    error_type,
)


class Spans(Protocol):
    """Makes spans of requests, later and elsewhere."""

    def ended(self, facts: Facts, now: float) -> None:
        """A request is over; `facts` do not change any more."""


class RequestObserver:
    """Counts and logs requests.

    Args:
        counters: of this process.
        access_log: gets one line a request.
        snapshots: tell which names are configured, since only those become labels.
        spans: told of every request, where spans are made.
    """

    def __init__(
        self, counters: Counters, access_log: AccessLog, snapshots: Snapshots, spans: Spans | None = None
    ) -> None:
        self._counters = counters
        self._in_flight = 0
        counters.follow(IN_FLIGHT, lambda: self._in_flight)
        self._access_log = access_log
        self._snapshots = snapshots
        self._spans = spans

    def begun(self) -> None:
        """A request begins."""
        self._in_flight += 1

    def ended(self, facts: Facts, now: float) -> None:
        """A request is over."""
        self._in_flight -= 1
        if facts.route != "health":
            self._count(facts, now)
        self._access_log.write(_access_line(facts, now))
        if self._spans is not None:
            self._spans.ended(facts, now)

    def _count(self, facts: Facts, now: float) -> None:
        counters = self._counters
        alias = facts.alias or NONE
        model = bounded(facts.model, self._snapshots.current.model_names)
        upstream, error = facts.upstream or NONE, error_type(facts.error_type)
        counters.inc(REQUESTS, (alias, model, upstream, facts.route, str(facts.status), error))
        counters.observe(REQUEST_DURATION, (), now - facts.started_at)
        if facts.overhead_ms is not None:
            counters.observe(OVERHEAD, (), facts.overhead_ms / 1000)
        if facts.first_token_at is not None:
            counters.observe(TTFT, (), facts.first_token_at - facts.started_at)
            if (gap_s := facts.inter_token_s) is not None:
                counters.observe(INTER_TOKEN, (), gap_s)
        if facts.is_fallback:
            counters.inc(FALLBACKS, (alias, facts.fallback or NONE))
        if facts.cost_nanousd:
            counters.inc(COST, (alias, model), facts.cost_nanousd / 1e9)
        usage = facts.usage
        if usage is not None:
            counters.inc(TOKENS, (alias, model, "prompt"), usage.prompt_tokens)
            counters.inc(TOKENS, (alias, model, "completion"), usage.completion_tokens)
            for kind, count in (
                ("cached", usage.cached_tokens),
                ("cache_write", usage.cache_write_tokens),
                ("reasoning", usage.reasoning_tokens),
            ):
                if count:
                    counters.inc(TOKENS, (alias, model, kind), count)


def _access_line(facts: Facts, now: float) -> AccessLine:
    usage = facts.usage
    is_served = facts.error_type is None
    return AccessLine(
        request_id=facts.request_id,
        client_request_id=facts.client_request_id,
        key=facts.key_id,
        trace_id=facts.trace.trace_id if facts.trace else None,
        method=facts.method,
        path=facts.path[:200] if facts.route != "other" else _without_keys(facts.path[:200]),
        route=facts.route,
        status=facts.status,
        outcome="served" if is_served else _outcome(facts),
        error_type=facts.error_type,
        stream=facts.stream,
        requested=facts.requested if facts.alias is not None else _raw_name(facts.requested),
        alias=facts.alias,
        release=facts.release,
        model=facts.model if facts.alias is not None else _raw_name(facts.model),
        upstream=facts.upstream,
        upstream_request_id=facts.upstream_request_id,
        attempts=facts.attempts,
        tried=None
        if is_served and len(facts.tried) < 2
        else [f"{tried.upstream}: {tried.outcome}" for tried in facts.tried] or None,
        fallback=facts.fallback,
        cache=facts.cache,
        prompt_tokens=usage.prompt_tokens if usage else None,
        cached_tokens=(usage.cached_tokens or None) if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        reasoning_tokens=(usage.reasoning_tokens or None) if usage else None,
        service_tier=facts.service_tier,
        cost_nanousd=facts.cost_nanousd,
        upstream_ms=round(facts.upstream_s * 1000, 3) if facts.attempts else None,
        ttft_ms=_ms(facts.first_token_at, facts.started_at),
        overhead_ms=facts.overhead_ms,
        duration_ms=_ms(now, facts.started_at),
    )


def _outcome(facts: Facts) -> str:
    """How a request ended that was not served: by its client, by our or an upstream's fault, by its own."""
    if facts.error_type == "client_left":
        return "client_left"
    return "failed" if facts.status >= 500 or facts.status == 200 else "refused"


def _raw_name(name: str | None) -> str | None:
    """A model's name that is none of an alias: it is the caller's text, and shown without keys."""
    return None if name is None else _without_keys(name[:200])


_KEY = re.compile(r"(?i)(?<![a-z0-9])(?:api|bearer|gsk|hf|key|pk|rk|sk|tg|xai)[-_ %][-\w.~+/=%]{8,}")


@lru_cache(maxsize=1024)
def _without_keys(text: str) -> str:
    """Text of a caller without what looks like a key that was put into the wrong place."""
    return _KEY.sub("***", text)


def _ms(until: float | None, since: float) -> float | None:
    return None if until is None else round((until - since) * 1000, 3)
