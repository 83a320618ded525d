"""Spans and metrics over OTLP, in the words of OpenTelemetry's conventions for HTTP and generative AI.

A request is a span of kind server, each call of an upstream a span of kind client below it. No contents are
recorded. Needs the extra `otel`; import it only where the configuration asks for it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from gateway import __version__
from gateway.domain.facts import Facts, Tried
from gateway.domain.trace import TraceContext
from gateway.telemetry.metrics import error_type
from gateway.telemetry.tracing import Ended

log = structlog.get_logger(__name__)

TIMEOUT_S = 5.0
_BATCH = 512
_SCOPE = InstrumentationScope("tunegate", __version__)
_OPERATIONS = {"chat.completions": "chat", "completions": "text_completion", "embeddings": "embeddings"}
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
_SERVED = frozenset({"committed"})
_OK = Status(StatusCode.UNSET)
_FAILED = Status(StatusCode.ERROR)

Attributes = dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Peer:
    """An upstream as spans name it."""

    provider: str
    address: str
    port: int


class OtlpExporter:
    """Sends requests to a collector.

    Args:
        url: the collector's; the signals' own paths are appended.
        headers: sent along.
        service_name: of the resource.
        peer_of: what a configured upstream is; None for one that is no more.
        model_names: ids that may be a metric's attribute; others are `other` there.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        service_name: str,
        peer_of: Callable[[str], Peer | None],
        model_names: Callable[[], frozenset[str]],
        interval_s: float,
    ) -> None:
        self._peer_of = peer_of
        self._model_names = model_names
        self._is_silent = False
        # It would say at every sending that the collector is away, and quote what that answers.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        identity = {"service.name": service_name, "service.version": __version__}
        self._resource = Resource.create(
            identity | {"service.instance.id": f"{os.uname().nodename}-{os.getpid()}"}
        )
        sent = dict(headers)
        self._spans = OTLPSpanExporter(
            f"{url}/v1/traces", headers=sent, timeout=TIMEOUT_S, session=_session()
        )
        sender = OTLPMetricExporter(f"{url}/v1/metrics", headers=sent, timeout=TIMEOUT_S, session=_session())
        reader = PeriodicExportingMetricReader(sender, interval_s * 1000, TIMEOUT_S * 1000)
        self._provider = MeterProvider([reader], self._resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("tunegate", __version__)
        self._requests = meter.create_histogram(
            "http.server.request.duration", "s", explicit_bucket_boundaries_advisory=_HTTP_SECONDS
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._first = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", unit="{token}", explicit_bucket_boundaries_advisory=_TOKENS
        )

    def export(self, ended: Sequence[Ended], offset_s: float) -> None:
        """Count the requests and send their spans."""
        spans: list[ReadableSpan] = []
        for facts, now in ended:
            if facts.route == "health":
                continue
            self._count(facts, now)
            if facts.trace is not None and facts.trace.is_ours and facts.trace.is_sampled:
                spans += self._spans_of(facts, facts.trace, now, offset_s)
        for first in range(0, len(spans), _BATCH):
            self._note(self._spans.export(spans[first : first + _BATCH]) is SpanExportResult.SUCCESS)

    def close(self) -> None:
        """Send the metrics, and be done."""
        self._provider.shutdown(timeout_millis=2000)
        self._spans.shutdown()  # type: ignore[no-untyped-call]  # theirs has no types

    def _note(self, is_good: bool) -> None:
        """Say once that spans are lost, and once that they arrive again."""
        if is_good == self._is_silent:
            self._is_silent = not is_good
            if is_good:
                log.info("the collector takes spans again")
            else:
                log.warning("the collector does not take spans; these are lost")

    # -- spans

    def _spans_of(
        self, facts: Facts, trace: TraceContext, now: float, offset_s: float
    ) -> Iterator[ReadableSpan]:
        def at(reading: float) -> int:
            return int((reading + offset_s) * 1e9)

        method, error = _method(facts), _error_of(facts)
        route = f"/v1/{facts.route.replace('.', '/')}" if facts.route in _OPERATIONS else None
        yield ReadableSpan(
            name=f"{method} {route}" if route else method,
            context=_context(trace, trace.span_id),
            parent=_context(trace, trace.parent_id, remote=True) if trace.parent_id else None,
            resource=self._resource,
            attributes=_server_attributes(facts, method, route, error),
            kind=SpanKind.SERVER,
            # what is the caller's own fault is no error of a server's span
            status=_FAILED if error is not None and (facts.status >= 500 or facts.status == 200) else _OK,
            start_time=at(facts.started_at),
            end_time=at(now),
            instrumentation_scope=_SCOPE,
        )
        for tried in facts.tried:
            if tried.trace is not None:
                ended_at = now if tried.ended_at is None else tried.ended_at
                failure = _failure_of(tried, facts)
                yield ReadableSpan(
                    name=f"{_operation(facts)} {tried.model}",
                    context=_context(tried.trace, tried.trace.span_id),
                    parent=_context(trace, trace.span_id),
                    resource=self._resource,
                    attributes=self._attempt_attributes(tried, facts, failure),
                    kind=SpanKind.CLIENT,
                    status=_FAILED if failure else _OK,
                    start_time=at(tried.began_at),
                    end_time=at(ended_at),
                    instrumentation_scope=_SCOPE,
                )

    def _attempt_attributes(self, tried: Tried, facts: Facts, failure: str | None) -> Attributes:
        found = self._about(tried, facts, tried.model)
        found["gen_ai.request.stream"] = facts.stream
        found["tunegate.upstream"] = tried.upstream
        if failure is not None:
            found["error.type"] = failure
        if tried.outcome not in _SERVED:
            return found
        if facts.upstream_request_id is not None:
            found["tunegate.upstream.request_id"] = facts.upstream_request_id
        if facts.first_token_at is not None:
            found["gen_ai.response.time_to_first_chunk"] = facts.first_token_at - tried.began_at
        if facts.service_tier is not None:
            found["openai.response.service_tier"] = facts.service_tier
        if (usage := facts.usage) is not None:
            found["gen_ai.usage.input_tokens"] = usage.prompt_tokens
            found["gen_ai.usage.output_tokens"] = usage.completion_tokens
            found["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
            found["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens
            found["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
        return found

    def _about(self, tried: Tried, facts: Facts, model: str) -> Attributes:
        found: Attributes = {"gen_ai.operation.name": _operation(facts), "gen_ai.request.model": model}
        peer = self._peer_of(tried.upstream)
        found["gen_ai.provider.name"] = peer.provider if peer else "openai"
        if peer is not None:
            found["server.address"], found["server.port"] = peer.address, peer.port
        return found

    # -- metrics

    def _count(self, facts: Facts, now: float) -> None:
        about: Attributes = {"http.request.method": _method(facts), "url.scheme": "http"}
        about["http.response.status_code"] = facts.status
        if facts.route in _OPERATIONS:
            about["http.route"] = f"/v1/{facts.route.replace('.', '/')}"
        if (error := _error_of(facts)) is not None:
            about["error.type"] = error
        self._requests.record(now - facts.started_at, about)
        for tried in facts.tried:
            if tried.trace is not None:
                self._count_attempt(tried, facts, now)

    def _count_attempt(self, tried: Tried, facts: Facts, now: float) -> None:
        model = tried.model if tried.model in self._model_names() else "other"
        about = self._about(tried, facts, model)
        failure = _failure_of(tried, facts)
        took_s = (now if tried.ended_at is None else tried.ended_at) - tried.began_at
        self._duration.record(took_s, about | ({"error.type": failure} if failure else {}))
        if tried.outcome not in _SERVED:
            return
        if facts.first_token_at is not None:
            self._first.record(facts.first_token_at - tried.began_at, about)
        if facts.usage is not None:
            self._tokens.record(facts.usage.prompt_tokens, about | {"gen_ai.token.type": "input"})
            self._tokens.record(facts.usage.completion_tokens, about | {"gen_ai.token.type": "output"})


# The boundaries that the conventions ask for.
_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
_HTTP_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]


def _session() -> requests.Session:
    """Calls the collector itself: no proxy that the environment names, no redirect is followed."""
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    if authorities := os.environ.get("SSL_CERT_FILE"):
        session.verify = authorities
    return session


def _context(trace: TraceContext, span_id: str, *, remote: bool = False) -> SpanContext:
    state = TraceState.from_header([trace.state.decode("latin-1")]) if trace.state else None
    flags = TraceFlags(trace.flags)
    return SpanContext(int(trace.trace_id, 16), int(span_id, 16), remote, flags, state)


def _server_attributes(facts: Facts, method: str, route: str | None, error: str | None) -> Attributes:
    known: dict[str, str | int | float | bool | None] = {
        "http.request.method": method,
        "http.route": route,
        "url.scheme": "http",
        "http.response.status_code": facts.status,
        "error.type": error,
        "tunegate.request_id": facts.request_id,
        "tunegate.key": facts.key_id,
        "tunegate.alias": facts.alias,
        "tunegate.release": facts.release,
        "tunegate.fallback": facts.fallback,
        "tunegate.cache": facts.cache,
        "tunegate.attempts": facts.attempts,
        "tunegate.cost_nanousd": facts.cost_nanousd,
        "tunegate.overhead_ms": facts.overhead_ms,
    }
    return {name: value for name, value in known.items() if value is not None}


def _method(facts: Facts) -> str:
    return facts.method if facts.method in _METHODS else "_OTHER"


def _operation(facts: Facts) -> str:
    return _OPERATIONS.get(facts.route, facts.route)


def _error_of(facts: Facts) -> str | None:
    """A word of the closed list, or None."""
    return None if facts.error_type is None else error_type(facts.error_type)


def _failure_of(tried: Tried, facts: Facts) -> str | None:
    """Why an attempt failed: before its commit point, or in the middle of its stream."""
    return _error_of(facts) if tried.outcome in _SERVED else tried.outcome
