"""What is told of every request when it is over: metrics, and one access line."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

import msgspec

from gateway.domain.facts import Facts, in_ms
from gateway.domain.usage import Usage
from gateway.snapshot import Snapshots
from gateway.telemetry.access_log import AccessLog, Own, Shared
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
        self._alike: dict[Shared, _Alike] = {}
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
        shared = _shared(facts)
        alike = self._alike.get(shared)
        if alike is None:
            alike = self._meet(shared)
        alike.requests += 1
        if facts.cost_nanousd:
            alike.cost_nanousd += facts.cost_nanousd
        if facts.usage is not None:
            _add_usage(alike, facts.usage)
        if facts.route != "health":
            self._time(facts, now)
        self._access_log.write(_own(facts, now), alike.text)
        if self._spans is not None:
            self._spans.ended(facts, now)

    def _time(self, facts: Facts, now: float) -> None:
        observe = self._counters.observe
        observe(REQUEST_DURATION, (), now - facts.started_at)
        if facts.overhead_ms is not None:
            observe(OVERHEAD, (), facts.overhead_ms / 1000)
        if facts.first_token_at is not None:
            observe(TTFT, (), facts.first_token_at - facts.started_at)
            if (gap_s := facts.inter_token_s) is not None:
                observe(INTER_TOKEN, (), gap_s)

    def _meet(self, shared: Shared) -> _Alike:
        if len(self._alike) >= _MOST_ALIKE:  # a part of what tells them apart is the clients'
            self._tell()
            self._alike.clear()
        alike = self._alike[shared] = _Alike(self._access_log.shared(shared))
        return alike

    def _tell(self) -> None:
        """Put what was counted into the counters, and forget what has not come since the last time."""
        inc, names = self._counters.inc, self._snapshots.current.model_names
        for each, alike in list(self._alike.items()):
            if not alike.requests:
                del self._alike[each]
            elif each.route != "health":
                alias, model, route = each.alias or NONE, bounded(each.model, names), each.route or NONE
                error = error_type(each.error_type)
                labels = (alias, model, each.upstream or NONE, route, str(each.status), error)
                inc(REQUESTS, labels, alike.requests)
                if each.status == 200 and each.fallback not in (None, "none"):
                    inc(FALLBACKS, (alias, each.fallback or NONE), alike.requests)
                if alike.cost_nanousd:
                    inc(COST, (alias, model), alike.cost_nanousd / 1e9)
                for kind in _TOKEN_KINDS:
                    if count := getattr(alike, kind):
                        inc(TOKENS, (alias, model, kind), count)
            alike.forget()


class _Alike(msgspec.Struct):
    """Requests that are alike: the part of their access lines, and what was counted since the last report."""

    text: bytes
    requests: int = 0
    cost_nanousd: int = 0
    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def forget(self) -> None:
        """Count from nothing."""
        self.requests = self.cost_nanousd = 0
        self.prompt = self.completion = self.cached = self.cache_write = self.reasoning = 0


_TOKEN_KINDS = ("prompt", "completion", "cached", "cache_write", "reasoning")
_MOST_ALIKE = 4096


def _add_usage(alike: _Alike, usage: Usage) -> None:
    alike.prompt += usage.prompt_tokens
    alike.completion += usage.completion_tokens
    alike.cached += usage.cached_tokens
    alike.cache_write += usage.cache_write_tokens
    alike.reasoning += usage.reasoning_tokens


def _shared(facts: Facts) -> Shared:
    requested, model, path, outcome = facts.requested, facts.model, facts.path[:200], "served"
    if facts.alias is None:
        requested, model = _raw_name(requested), _raw_name(model)
    if facts.route == "other":
        path = _without_keys(path)
    if facts.error_type is not None:
        outcome = _outcome(facts)
    return Shared(
        "info",
        facts.method,
        path,
        facts.status,
        outcome,
        facts.route,
        facts.key_id,
        requested,
        facts.alias,
        facts.release,
        model,
        facts.upstream,
        facts.stream,
        facts.attempts,
        facts.fallback,
        facts.cache,
        facts.error_type,
        facts.service_tier,
    )


def _own(facts: Facts, now: float) -> Own:
    own = Own(
        request_id=facts.request_id,
        client_request_id=facts.client_request_id,
        upstream_request_id=facts.upstream_request_id,
        cost_nanousd=facts.cost_nanousd,
        overhead_ms=facts.overhead_ms,
        duration_ms=in_ms(now - facts.started_at),
    )
    if (usage := facts.usage) is not None:
        own.prompt_tokens, own.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        own.cached_tokens, own.reasoning_tokens = usage.cached_tokens or None, usage.reasoning_tokens or None
    if facts.attempts:
        own.upstream_ms = in_ms(facts.upstream_s)
    if facts.first_token_at is not None:
        own.ttft_ms = in_ms(facts.first_token_at - facts.started_at)
    if facts.trace is not None:
        own.trace_id = facts.trace.trace_id
    if facts.error_type is not None or len(facts.tried) > 1:
        own.tried = [f"{tried.upstream}: {tried.outcome}" for tried in facts.tried] or None
    return own


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
