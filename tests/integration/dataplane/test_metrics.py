"""What a worker counts of real calls, and what never becomes a label."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from gateway.telemetry import metrics
from gateway.telemetry.exposition import Registry
from tests.integration.dataplane.conftest import BASE, FT
from tests.support.client import Client, client_of
from tests.support.fake_upstream import FakeUpstream, done, finish, role, text, until, usage
from tests.support.gateway import RunningGateway

HOSTILE = (
    'x"} 1\ntunegate_requests_total{alias="forged',
    "canary-of-a-label",
    "ft:gpt-4.1-mini-2025-04-14:other:canary:XyZ",
    "support\x00canary",
    "кanary",
    "a" * 5000,
    "{{canary}}",
    "../canary",
)


def counted(gateway: RunningGateway, metric: metrics.Metric) -> dict[tuple[str, ...], float]:
    rows = gateway.worker.counters.totals()[f"{metric.kind}s"].get(metric.name, [])
    return {tuple(row[0]): row[1] for row in rows}


def observed(gateway: RunningGateway, metric: metrics.Metric) -> tuple[int, float]:
    """How many observations a histogram has, and their sum."""
    rows = gateway.worker.counters.totals()["histograms"].get(metric.name, [])
    return sum(sum(row[1]) for row in rows), sum(row[2] for row in rows)


async def told(gateway: RunningGateway, lines: int) -> None:
    """Wait until so many requests are over and counted."""
    await gateway.access_lines(lines)


async def test_a_call_counts_once_in_everything(
    client: Client, gateway: RunningGateway, upstream: FakeUpstream
) -> None:
    asked = {
        "prompt_tokens": 10,
        "completion_tokens": 6,
        "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    upstream.answers(FT, {"id": "x", "object": "chat.completion", "choices": [choice], "usage": asked})
    assert (await client.chat()).status_code == 200
    await told(gateway, 1)

    row = ("support", FT, "openai", "chat.completions", "200", "none")
    assert counted(gateway, metrics.REQUESTS) == {row: 1}
    assert counted(gateway, metrics.ATTEMPTS) == {("openai", "committed"): 1}
    assert counted(gateway, metrics.TOKENS) == {
        ("support", FT, "prompt"): 10,
        ("support", FT, "completion"): 6,
        ("support", FT, "cached"): 4,
        ("support", FT, "reasoning"): 2,
    }
    assert counted(gateway, metrics.COST).keys() == {("support", FT)}
    assert counted(gateway, metrics.SETTLEMENTS) == {("exact",): 1}
    assert counted(gateway, metrics.IN_FLIGHT) == {(): 0}
    assert counted(gateway, metrics.STORE_AWAY).get((), 0) == 0
    assert counted(gateway, metrics.WORKERS) == counted(gateway, metrics.WORKER_STARTS) == {(): 1}
    assert observed(gateway, metrics.REQUEST_DURATION)[0] == 1
    assert observed(gateway, metrics.OVERHEAD)[0] == 1
    assert observed(gateway, metrics.TTFT)[0] == observed(gateway, metrics.INTER_TOKEN)[0] == 0


async def test_the_time_between_tokens_of_a_stream(
    client: Client, gateway: RunningGateway, upstream: FakeUpstream
) -> None:
    later = asyncio.Event()
    upstream.plays(FT, role(), text("a"), until(later), text("b"), finish(), usage(7, 5), done())

    async def let_it_go_on() -> None:
        await asyncio.sleep(0.12)  # what is measured is time
        later.set()

    reply, _ = await asyncio.gather(client.chat(stream=True), let_it_go_on())
    assert reply.content.endswith(b"data: [DONE]\n\n")
    await told(gateway, 1)
    count, mean = observed(gateway, metrics.INTER_TOKEN)
    assert count == 1
    assert 0.02 < mean < 0.2  # at least 0.12 s for four gaps, less what passed before the commit was seen
    assert observed(gateway, metrics.TTFT)[0] == 1


@pytest.mark.parametrize("cut", [True, False])
async def test_a_stream_without_an_end_or_a_second_token_has_no_such_time(
    client: Client, gateway: RunningGateway, upstream: FakeUpstream, cut: bool
) -> None:
    steps = (role(), text("a")) if cut else (role(), text("a"), finish(), usage(7, 1), done())
    upstream.plays(FT, *steps)
    await client.chat(stream=True)
    await told(gateway, 1)
    assert observed(gateway, metrics.INTER_TOKEN)[0] == 0


async def test_no_text_of_a_caller_becomes_a_label(
    client: Client, gateway: RunningGateway, upstream: FakeUpstream
) -> None:
    upstream.refuses(FT, 400, code="canary_code", type="canary_type")
    await client.chat()
    count = 1
    for name in HOSTILE:
        await client.chat(model=name)
        count += 1
    headers = {"x-tunegate-upstream": "canary", "x-request-id": "canary"}
    async with (
        client_of(gateway.url, "tg-canary") as stranger,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as raw,
    ):
        await stranger.chat()
        await raw.get("/v1/canary/of/a/path", headers=headers)
        await raw.request("CANARY", "/v1/chat/completions", headers=headers)
    await told(gateway, count + 2)

    totals: dict[str, Any] = gateway.worker.counters.totals()
    words = {
        word
        for kind in ("counters", "gauges", "histograms")
        for name, rows in totals[kind].items()
        if name != metrics.STORE_ERRORS.name  # its words stand in the code; a busy machine may add some
        for row in rows
        for word in row[0]
    }
    configured = {"support", FT, BASE, "openai", "relay"}
    outcomes = {"committed", "client_left", "hedged", "rejected"}
    closed = {*metrics.ERROR_TYPES, "chat.completions", *outcomes, *metrics.TOKEN_KINDS, "other", "none"}
    states = {"exact", "estimated", "released"}
    assert {word for word in words if not word.isdigit()} <= configured | closed | states
    assert (
        counted(gateway, metrics.REQUESTS)[("support", FT, "openai", "chat.completions", "400", "other")] == 1
    )

    registry = Registry()
    registry.apply(1, totals)
    exposition = registry.render()[0].decode()
    assert "anary" not in exposition
    assert "forged" not in exposition
