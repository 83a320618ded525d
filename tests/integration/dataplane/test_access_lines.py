"""The access line of real calls: ids, names, timings, tokens, cost, outcome, and nothing of their content."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.dataplane.conftest import FT
from tests.support.client import Client, client_of
from tests.support.fake_upstream import FakeUpstream, drop, role, stall, text
from tests.support.gateway import RunningGateway


async def test_a_stream_that_the_second_upstream_serves(
    client: Client, gateway: RunningGateway, upstream: FakeUpstream, key: str
) -> None:
    upstream.refuses(FT, 500, times=3)
    reply = await client.chat(stream=True, headers={"x-request-id": "mine"})
    line = (await gateway.access_lines(1))[0]
    assert line["outcome"] == "served"
    assert line["request_id"] == reply.headers["x-request-id"]
    assert line["client_request_id"] == "mine"
    assert line["upstream_request_id"] == "req_upstream"
    assert (line["alias"], line["requested"], line["model"]) == ("support", "support", FT)
    assert line["upstream"] == "relay"
    assert line["key"] == key.split("-")[1]
    assert line["fallback"] == "server_error"
    assert line["tried"][-1] == "relay: committed"
    assert set(line["tried"][:-1]) == {"openai: server_error"}
    assert line["attempts"] == len(line["tried"])
    assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 2)
    assert line["cost_nanousd"] > 0
    assert 0 < line["overhead_ms"] < line["duration_ms"]
    assert 0 < line["upstream_ms"] <= line["ttft_ms"] <= line["duration_ms"]


async def test_one_that_was_served_at_once_does_not_repeat_itself(
    client: Client, gateway: RunningGateway
) -> None:
    await client.chat()
    line = (await gateway.access_lines(1))[0]
    assert line.keys().isdisjoint({"tried", "error_type", "cached_tokens", "trace_id", "ttft_ms"})


async def test_how_it_ended_is_one_word(
    client: Client, gateway: RunningGateway, upstream: FakeUpstream, relay: FakeUpstream
) -> None:
    async with client_of(gateway.url, "tg-wrong") as stranger:
        await stranger.chat()
    await client.chat(model="ft:gpt-4.1-mini-2025-04-14:nobody:x:y")
    upstream.plays(FT, role(), text("a"), drop())
    await client.chat(stream=True)
    upstream.plays(FT, role(), stall())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await client.chat(stream=True)
    lines = await gateway.access_lines(4)
    assert [line["outcome"] for line in lines] == ["refused", "refused", "failed", "client_left"]
    assert lines[3]["tried"] == ["openai: client_left"]


async def test_a_key_in_the_wrong_place_is_not_shown(
    client: Client, gateway: RunningGateway, key: str
) -> None:
    await client.chat(model=f"model {key}")
    await client.get(f"/v1/{key}?q={key}")
    await client.chat(model="sk-proj-AAAAbbbbCCCCdddd1111")
    lines = await gateway.access_lines(3)
    assert lines[0]["requested"] == "model ***"
    assert lines[1]["path"] == "/v1/***"
    assert lines[2]["requested"] == "***"
    assert key not in gateway.log.read_text()


async def test_names_without_a_key_are_shown_as_they_are(client: Client, gateway: RunningGateway) -> None:
    names = ["gpt-4o-mini-2024-07-18", "ft:gpt-4.1-mini-2025-04-14:other:support:AbC123", "task-tg", "кл"]
    for name in names:
        await client.chat(model=name)
    assert [line["requested"] for line in await gateway.access_lines(len(names))] == names
