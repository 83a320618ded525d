"""What is told of every request when it is over: metrics, and one access line."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

import msgspec

from gateway.domain.facts import Facts, in_ms
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
        self._tallies: dict[_Alike, _Tally] = {}
        counters.before_reports(self._tell)
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
        # One look for all that is counted of requests that are alike; their labels are made for the report.
        alike = facts.alias, facts.model, facts.upstream, facts.route, facts.status, facts.error_type
        tally = self._tallies.get(alike)
        if tally is None:
            if len(self._tallies) >= _MOST_TALLIES:  # a part of what tells them apart is the clients'
                self._tell()
            tally = self._tallies[alike] = _Tally()
        tally.requests += 1
        if facts.is_fallback:
            reason = facts.fallback or NONE
            tally.fallbacks[reason] = tally.fallbacks.get(reason, 0) + 1
        if facts.cost_nanousd:
            tally.cost_nanousd += facts.cost_nanousd
        usage = facts.usage
        if usage is not None:
            tally.prompt += usage.prompt_tokens
            tally.completion += usage.completion_tokens
            tally.cached += usage.cached_tokens
            tally.cache_write += usage.cache_write_tokens
            tally.reasoning += usage.reasoning_tokens
        observe = self._counters.observe
        observe(REQUEST_DURATION, (), now - facts.started_at)
        if facts.overhead_ms is not None:
            observe(OVERHEAD, (), facts.overhead_ms / 1000)
        if facts.first_token_at is not None:
            observe(TTFT, (), facts.first_token_at - facts.started_at)
            if (gap_s := facts.inter_token_s) is not None:
                observe(INTER_TOKEN, (), gap_s)

    def _tell(self) -> None:
        """Put what was tallied into the counters."""
        names = self._snapshots.current.model_names
        inc = self._counters.inc
        for (alias, asked_model, upstream, route, status, error), tally in self._tallies.items():
            named, model = alias or NONE, bounded(asked_model, names)
            labels = (named, model, upstream or NONE, route, str(status), error_type(error))
            inc(REQUESTS, labels, tally.requests)
            for reason, count in tally.fallbacks.items():
                inc(FALLBACKS, (named, reason), count)
            if tally.cost_nanousd:
                inc(COST, (named, model), tally.cost_nanousd / 1e9)
            for kind in _TOKEN_KINDS:
                if count := getattr(tally, kind):
                    inc(TOKENS, (named, model, kind), count)
        self._tallies.clear()


_Alike = tuple[str | None, str | None, str | None, str, int, str | None]
"""Alias, model, upstream, route, status, error."""


class _Tally(msgspec.Struct):
    """What was counted of requests that are alike since the last report."""

    requests: int = 0
    cost_nanousd: int = 0
    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    fallbacks: dict[str, int] = {}


_TOKEN_KINDS = ("prompt", "completion", "cached", "cache_write", "reasoning")
_MOST_TALLIES = 1000


def _access_line(facts: Facts, now: float) -> AccessLine:
    is_aliased = facts.alias is not None
    line = AccessLine(
        request_id=facts.request_id,
        client_request_id=facts.client_request_id,
        key=facts.key_id,
        method=facts.method,
        path=facts.path[:200] if facts.route != "other" else _without_keys(facts.path[:200]),
        route=facts.route,
        status=facts.status,
        outcome="served",
        stream=facts.stream,
        requested=facts.requested if is_aliased else _raw_name(facts.requested),
        alias=facts.alias,
        release=facts.release,
        model=facts.model if is_aliased else _raw_name(facts.model),
        upstream=facts.upstream,
        upstream_request_id=facts.upstream_request_id,
        attempts=facts.attempts,
        fallback=facts.fallback,
        cache=facts.cache,
        service_tier=facts.service_tier,
        cost_nanousd=facts.cost_nanousd,
        overhead_ms=facts.overhead_ms,
        duration_ms=in_ms(now - facts.started_at),
    )
    if (usage := facts.usage) is not None:
        line.prompt_tokens, line.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        line.cached_tokens, line.reasoning_tokens = (
            usage.cached_tokens or None,
            usage.reasoning_tokens or None,
        )
    if facts.attempts:
        line.upstream_ms = in_ms(facts.upstream_s)
    if facts.first_token_at is not None:
        line.ttft_ms = in_ms(facts.first_token_at - facts.started_at)
    if facts.trace is not None:
        line.trace_id = facts.trace.trace_id
    if facts.error_type is not None:
        line.error_type, line.outcome = facts.error_type, _outcome(facts)
    if facts.error_type is not None or len(facts.tried) > 1:
        line.tried = [f"{tried.upstream}: {tried.outcome}" for tried in facts.tried] or None
    return line


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
