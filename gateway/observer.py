"""What is told of every request when it is over: metrics, and one access line."""

from __future__ import annotations

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


class RequestObserver:
    """Counts and logs requests.

    Args:
        counters: of this process.
        access_log: gets one line a request.
        snapshots: tell which names are configured, since only those become labels.
    """

    def __init__(self, counters: Counters, access_log: AccessLog, snapshots: Snapshots) -> None:
        self._counters = counters
        self._access_log = access_log
        self._snapshots = snapshots

    def begun(self) -> None:
        """A request begins."""
        self._counters.add(IN_FLIGHT, (), 1)

    def ended(self, facts: Facts, now: float) -> None:
        """A request is over."""
        self._counters.add(IN_FLIGHT, (), -1)
        if facts.route != "health":
            self._count(facts, now)
        self._access_log.write(_access_line(facts, now))

    def _count(self, facts: Facts, now: float) -> None:
        counters = self._counters
        alias = facts.alias or NONE
        model = bounded(facts.model, self._snapshots.current.model_names)
        counters.inc(
            REQUESTS,
            (
                alias,
                model,
                facts.upstream or NONE,
                facts.route,
                str(facts.status),
                error_type(facts.error_type),
            ),
        )
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
    return AccessLine(
        request_id=facts.request_id,
        client_request_id=facts.client_request_id,
        key=facts.key_id,
        method=facts.method,
        path=facts.path[:200],
        route=facts.route,
        status=facts.status,
        error_type=facts.error_type,
        stream=facts.stream,
        requested=facts.requested[:200] if facts.requested else None,
        alias=facts.alias,
        release=facts.release,
        model=facts.model,
        upstream=facts.upstream,
        upstream_request_id=facts.upstream_request_id,
        attempts=facts.attempts,
        fallback=facts.fallback,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        ttft_ms=_ms(facts.first_token_at, facts.started_at),
        overhead_ms=facts.overhead_ms,
        duration_ms=_ms(now, facts.started_at),
    )


def _ms(until: float | None, since: float) -> float | None:
    return None if until is None else round((until - since) * 1000, 3)
