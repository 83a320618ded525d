"""What is told of every request when it is over: metrics, and one access line."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from gateway.domain.facts import Facts, in_ms
from gateway.domain.usage import Usage
from gateway.snapshot import Snapshots
from gateway.telemetry.access_log import AccessLog, Own, Shared
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import (
    COST,
    FALLBACKS,
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
        self._alike: dict[Hashable, _Alike] = {}
        self._times: list[tuple[float, float | None]] = []
        counters.before_reports(self._tell)
        self._access_log = access_log
        self._snapshots = snapshots
        self._spans = spans

    def ended(self, facts: Facts, now: float) -> None:
        """A request is over."""
        alike = self._alike_of(facts)
        alike.requests += 1
        usage = facts.usage
        if usage is not None:
            alike.prompt += usage.prompt_tokens
            alike.completion += usage.completion_tokens
            if usage.cached_tokens or usage.cache_write_tokens or usage.reasoning_tokens:
                alike.add_special(usage)
        if facts.cost_nanousd:
            alike.cost_nanousd += facts.cost_nanousd
        duration_s = now - facts.started_at
        if facts.route != "health":
            self._times.append((duration_s, facts.overhead_ms))
            if facts.first_token_at is not None:
                self._time_stream(facts, facts.first_token_at)
            if len(self._times) == _MOST_TIMES:
                self._tell_times()
        log = self._access_log
        log.write(_own(facts, log.stamp(), duration_s), alike.text)
        if self._spans is not None:
            self._spans.ended(facts, now)

    def _time_stream(self, facts: Facts, first_token_at: float) -> None:
        self._counters.observe(TTFT, (), first_token_at - facts.started_at)
        if (gap_s := facts.inter_token_s) is not None:
            self._counters.observe(INTER_TOKEN, (), gap_s)

    def _alike_of(self, facts: Facts) -> _Alike:
        if facts.error_type is None and facts.alias is not None:  # nothing of it is the caller's text
            kind: Hashable = (
                facts.status,
                facts.route,
                facts.key_id,
                facts.requested,
                facts.release,
                facts.model,
                facts.upstream,
                facts.stream,
                facts.attempts,
                facts.fallback,
                facts.cache,
                facts.service_tier,
            )
        else:
            kind = _shared(facts)
        alike = self._alike.get(kind)
        return self._meet(kind, _shared(facts)) if alike is None else alike

    def _meet(self, kind: Hashable, shared: Shared) -> _Alike:
        if len(self._alike) >= _MOST_ALIKE:  # a part of what tells them apart is the clients'
            self._tell()
            self._alike.clear()
        alike = self._alike[kind] = _Alike(shared, self._access_log.shared(shared))
        return alike

    def _tell(self) -> None:
        """Put what was counted into the counters, and forget what has not come since the last time."""
        self._tell_times()
        inc, names = self._counters.inc, self._snapshots.current.model_names
        for kind, alike in list(self._alike.items()):
            each = alike.shared
            if not alike.requests:
                del self._alike[kind]
            elif each.route != "health":
                alias, model, route = each.alias or NONE, bounded(each.model, names), each.route or NONE
                error = error_type(each.error_type)
                labels = (alias, model, each.upstream or NONE, route, str(each.status), error)
                inc(REQUESTS, labels, alike.requests)
                if each.status == 200 and each.fallback not in (None, "none"):
                    inc(FALLBACKS, (alias, each.fallback or NONE), alike.requests)
                if alike.cost_nanousd:
                    inc(COST, (alias, model), alike.cost_nanousd / 1e9)
                for kind_of_token in _TOKEN_KINDS:
                    if count := getattr(alike, kind_of_token):
                        inc(TOKENS, (alias, model, kind_of_token), count)
            alike.forget()

    def _tell_times(self) -> None:
        times, self._times = self._times, []
        self._counters.observe_all(REQUEST_DURATION, [duration_s for duration_s, _ in times])
        self._counters.observe_all(OVERHEAD, [ms / 1000 for _, ms in times if ms is not None])


@dataclass(slots=True)  # whose fields are set several times as fast as a Struct's, for each request
class _Alike:
    """Requests that are alike: the part of their access lines, and what was counted since the last report."""

    shared: Shared
    text: bytes
    requests: int = 0
    cost_nanousd: int = 0
    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def add_special(self, usage: Usage) -> None:
        """Count the tokens of a kind that most requests have none of."""
        self.cached += usage.cached_tokens
        self.cache_write += usage.cache_write_tokens
        self.reasoning += usage.reasoning_tokens

    def forget(self) -> None:
        """Count from nothing."""
        self.requests = self.cost_nanousd = 0
        self.prompt = self.completion = self.cached = self.cache_write = self.reasoning = 0


_TOKEN_KINDS = ("prompt", "completion", "cached", "cache_write", "reasoning")
_MOST_ALIKE = 4096
_MOST_TIMES = 1000
"""Requests whose times wait to be put into buckets together; a report takes fewer."""


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


def _own(facts: Facts, stamp: str, duration_s: float) -> Own:
    """Of one request, by the order of the fields: names would cost more than the rest of it."""
    usage, trace, first_token_at = facts.usage, facts.trace, facts.first_token_at
    return Own(
        stamp,
        facts.request_id,
        facts.client_request_id,
        None if trace is None else trace.trace_id,
        facts.upstream_request_id,
        None if facts.attempts < 2 and facts.error_type is None else _tried(facts),
        None if usage is None else usage.prompt_tokens,
        None if usage is None else usage.cached_tokens or None,
        None if usage is None else usage.completion_tokens,
        None if usage is None else usage.reasoning_tokens or None,
        facts.cost_nanousd,
        int(facts.upstream_s * 1e6 + 0.5) / 1000 if facts.attempts else None,  # `in_ms`, without its frame
        None if first_token_at is None else in_ms(first_token_at - facts.started_at),
        facts.overhead_ms,
        int(duration_s * 1e6 + 0.5) / 1000,
    )


def _tried(facts: Facts) -> list[str] | None:
    return [f"{tried.upstream}: {tried.outcome}" for tried in facts.tried] or None


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
