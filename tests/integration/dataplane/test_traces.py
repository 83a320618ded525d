"""Traces: taken in, passed on where that is asked for, spans and metrics where there is a collector."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, openai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.metrics import http_metrics

from tests.integration.dataplane.conftest import BASE, FT, StartGateway
from tests.support.client import client_of
from tests.support.collector import Collector, attributes, running_collector
from tests.support.fake_upstream import FakeUpstream, drop, role, text
from tests.support.gateway import RunningGateway

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=canary"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


StartTraced = Callable[..., Any]


@pytest.fixture
def start(start_gateway: StartGateway, upstream: FakeUpstream, relay: FakeUpstream) -> StartTraced:
    async def start(collector: Collector | None = None, **telemetry: Any) -> RunningGateway:
        blocks: dict[str, Any] = {}
        if collector is not None:
            blocks["telemetry"] = {"otlp_url": collector.url, "interval_s": 0.05} | telemetry
        return await start_gateway(
            {
                "openai": {
                    "base_url": upstream.url,
                    "api_keys": ["sk-one"],
                    "owns": ["acme"],
                    "trace_context": True,
                },
                "relay": {"base_url": relay.url, "api_keys": ["sk-relay"], "owns": ["acme"]},
            },
            {"support": {"model": FT, "upstreams": ["openai", "relay"]}},
            **blocks,
        )

    return start


async def spans_of(collector: Collector, count: int) -> list[Any]:
    """The spans, in the order they began, once there are so many."""
    for _ in range(1000):
        if len(collector.spans) >= count:
            break
        await asyncio.sleep(0.01)
    assert len(collector.spans) == count
    return sorted(
        collector.spans, key=lambda span: (span.start_time_unix_nano, span.kind != Span.SPAN_KIND_SERVER)
    )


class TestWithoutACollector:
    async def test_the_context_goes_where_it_is_asked_for_as_it_came(
        self, start: StartTraced, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        gateway = await start()
        upstream.refuses(FT, 500, times=3)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            assert (await client.chat(headers=HEADERS)).status_code == 200
        for call in upstream.calls:
            assert {name: call.headers[name] for name in HEADERS} == HEADERS
        assert relay.calls
        assert not any(call.headers.keys() & HEADERS.keys() for call in relay.calls)
        assert (await gateway.access_lines(1))[0]["trace_id"] == TRACE

    @pytest.mark.parametrize("parent", [None, "nonsense", f"00-{'0' * 32}-{PARENT}-01"])
    async def test_nothing_is_made_up(
        self, start: StartTraced, upstream: FakeUpstream, parent: str | None
    ) -> None:
        gateway = await start()
        async with client_of(gateway.url, await gateway.new_key()) as client:
            await client.chat(headers={"tracestate": "a=b"} | ({"traceparent": parent} if parent else {}))
        assert not upstream.calls[0].headers.keys() & HEADERS.keys()
        assert "trace_id" not in (await gateway.access_lines(1))[0]


class TestWithACollector:
    async def test_a_request_and_its_attempts(
        self, start: StartTraced, collector: Collector, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        gateway = await start(collector, service_name="gateway-a", otlp_headers={"x-token": "secret-token"})
        upstream.refuses(FT, 401)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            reply = await client.chat(headers=HEADERS, stream=True)
        server, refused, served = await spans_of(collector, 3)

        assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
        assert server.kind == Span.SPAN_KIND_SERVER
        assert server.name == "POST /v1/chat/completions"
        assert server.parent_span_id.hex() == PARENT
        assert server.status.code == Status.STATUS_CODE_UNSET
        assert server.trace_state == "vendor=canary"
        about = attributes(server)
        assert about["http.response.status_code"] == 200
        assert about["http.route"] == "/v1/chat/completions"
        assert about["tunegate.request_id"] == reply.headers["x-request-id"]
        assert (about["tunegate.alias"], about["tunegate.fallback"]) == ("support", "credential")

        for span in (refused, served):
            assert span.kind == Span.SPAN_KIND_CLIENT
            assert span.name == f"chat {FT}"
            assert span.parent_span_id == server.span_id
            assert server.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= server.end_time_unix_nano
            assert attributes(span)["gen_ai.operation.name"] == "chat"
            assert attributes(span)["gen_ai.provider.name"] == "openai"
            assert attributes(span)["gen_ai.request.model"] == FT
            assert attributes(span)["server.address"] == "127.0.0.1"
        assert refused.status.code == Status.STATUS_CODE_ERROR
        assert attributes(refused)["error.type"] == "credential"
        assert served.status.code == Status.STATUS_CODE_UNSET
        assert attributes(served)["gen_ai.usage.input_tokens"] == 7
        assert attributes(served)["gen_ai.usage.output_tokens"] == 2
        assert attributes(served)["gen_ai.response.time_to_first_chunk"] > 0
        assert attributes(served)["server.port"] == int(relay.url.split(":")[2].split("/")[0])

        told = upstream.calls[0].headers["traceparent"]
        assert told == f"00-{TRACE}-{refused.span_id.hex()}-01"
        assert not relay.calls[0].headers.keys() & HEADERS.keys()
        assert attributes(collector.resources[0])["service.name"] == "gateway-a"
        assert all(headers["x-token"] == "secret-token" for headers in collector.headers)

    async def test_failures_are_errors_and_a_callers_own_are_not(
        self, start: StartTraced, collector: Collector, upstream: FakeUpstream
    ) -> None:
        gateway = await start(collector)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            upstream.plays(FT, role(), text("a"), drop())
            await client.chat(stream=True)
            await client.chat(model="ft:gpt-4.1-mini-2025-04-14:nobody:x:y")
        broken, attempt, unknown = await spans_of(collector, 3)
        assert broken.status.code == attempt.status.code == Status.STATUS_CODE_ERROR
        assert attributes(broken)["error.type"] == attributes(attempt)["error.type"] == "stream_truncated"
        assert unknown.status.code == Status.STATUS_CODE_UNSET
        assert attributes(unknown)["error.type"] == "model_not_found"
        assert not unknown.parent_span_id

    async def test_what_is_not_sampled_is_counted_and_passed_on(
        self, start: StartTraced, collector: Collector, upstream: FakeUpstream
    ) -> None:
        gateway = await start(collector, sample_ratio=0)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            await client.chat()
            await client.chat(stream=True, model=BASE)
            await client.chat(headers={"traceparent": HEADERS["traceparent"][:-1] + "0"})
        for _ in range(1000):
            points = getattr(collector.metrics.get("http.server.request.duration"), "histogram", None)
            if points and sum(point.count for point in points.data_points) == 3:
                break
            await asyncio.sleep(0.01)
        assert collector.spans == []
        assert upstream.calls[2].headers["traceparent"].startswith(f"00-{TRACE}-")
        assert upstream.calls[2].headers["traceparent"].endswith("-00")
        assert upstream.calls[0].headers["traceparent"].endswith("-00")
        tokens = collector.metrics["gen_ai.client.token.usage"].histogram.data_points
        assert {(attributes(point)["gen_ai.token.type"], point.sum) for point in tokens} >= {("input", 14.0)}

    async def test_names_are_those_of_the_conventions(self, start: StartTraced, collector: Collector) -> None:
        gateway = await start(collector)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            await client.chat(stream=True)
            await client.post("/v1/embeddings", {"model": FT, "input": "x"})
        spans = await spans_of(collector, 4)
        assert {span.name for span in spans} >= {f"embeddings {FT}", "POST /v1/embeddings"}
        modules = (gen_ai_attributes, openai_attributes, error_attributes, http_attributes)
        known = {
            value
            for module in (*modules, server_attributes, url_attributes)
            for value in vars(module).values()
            if isinstance(value, str)
        }
        used = {name for span in spans for name in attributes(span)}
        assert {name for name in used if not name.startswith("tunegate.")} <= known
        for _ in range(1000):
            if len(collector.metrics) == 4:
                break
            await asyncio.sleep(0.01)
        named = {v for m in (gen_ai_metrics, http_metrics) for v in vars(m).values() if isinstance(v, str)}
        assert collector.metrics.keys() <= named
        assert len(collector.metrics) == 4

    async def test_a_collector_that_is_away_or_refuses_is_no_callers_business(
        self, start: StartTraced, collector: Collector
    ) -> None:
        collector.status = 400
        gateway = await start(collector)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            for _ in range(5):
                assert (await client.chat()).status_code == 200
