"""A client that leaves after any event is charged what it was sent, and never more than was made."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from gateway.metering.record import LedgerRecord
from gateway.metering.tokenizer import count_prompt, count_text
from gateway.store import keys
from gateway.store.client import Store
from tests.integration.dataplane.conftest import StartGateway
from tests.support.client import HI, Client, client_of
from tests.support.fake_upstream import (
    FakeUpstream,
    Step,
    chunk,
    done,
    finish,
    role,
    stall,
    text,
    until,
    usage,
)
from tests.support.gateway import RunningGateway

MODEL = "fake-cut"
PROMPT_NANOUSD, COMPLETION_NANOUSD = 1_000, 2_000
PROMPT_TOKENS = count_prompt({"messages": json.dumps(HI).encode()}, MODEL)  # type: ignore[dict-item]  # bytes do for a Raw


def called(arguments: str) -> bytes:
    """A piece of a tool call."""
    return chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]})


WRITTEN = (" Tuning", " pianos", " für", " Übermorgen", " 调音", " is", " an art", ' {"a":', " 12345", "}")
EVENTS = tuple(text(piece) for piece in WRITTEN[:7]) + tuple(called(piece) for piece in WRITTEN[7:])
FINISHED = (*EVENTS, finish("tool_calls"))


def tokens(count: int) -> int:
    """Of the first pieces."""
    spoken, argument = "".join(WRITTEN[: min(count, 7)]), "".join(WRITTEN[7:count])
    return sum(count_text(each, MODEL) for each in (spoken, argument) if each)


@pytest.fixture
async def cut_gateway(start_gateway: StartGateway, upstream: FakeUpstream) -> RunningGateway:
    return await start_gateway(
        {"fake": {"base_url": upstream.url, "models": ["fake-*"]}},
        {},
        prices={MODEL: {"input": 1, "output": 2}},
    )


@pytest.fixture
async def cut_key(cut_gateway: RunningGateway) -> str:
    return await cut_gateway.new_key(budget={"nanousd": 10**12, "period": "total"})


@pytest.fixture
async def cutter(cut_gateway: RunningGateway, cut_key: str) -> AsyncIterator[Client]:
    async with client_of(cut_gateway.url, cut_key) as client:
        yield client


async def leave_after(client: Client, count: int) -> None:
    """Read `count` events with content and hang up."""
    async with client.stream(MODEL) as answer:
        assert answer.status_code == 200
        await read_events(answer, count + 1)  # the first one says the role only


async def read_events(answer: httpx2.Response, count: int) -> None:
    seen = b""
    async for data in answer.aiter_bytes():
        seen += data
        if seen.count(b"\n\n") >= count:
            return


async def the_record(store: Store, key: str) -> LedgerRecord:
    """The only record, once it is there."""
    shard = key.removeprefix("tg-")[:2]
    async with asyncio.timeout(5):
        while not (entries := await store.call("XRANGE", keys.ledger(shard), "-", "+")):
            await asyncio.sleep(0.005)
    assert len(entries) == 1
    fields = entries[0][1]
    assert await store.call("ZCARD", keys.leases(shard)) == 0
    record = LedgerRecord.decode(fields[fields.index(b"r") + 1])
    used = await store.call("HGET", keys.key_account(record.key), "cost_nanousd")
    assert int(used or 0) == record.cost_nanousd
    return record


def charged(record: LedgerRecord) -> int:
    """The completion tokens, after a look at whether the money is theirs."""
    assert record.prompt_tokens is not None
    assert record.completion_tokens is not None
    cost = record.prompt_tokens * PROMPT_NANOUSD + record.completion_tokens * COMPLETION_NANOUSD
    assert record.cost_nanousd == cost
    return record.completion_tokens


@pytest.mark.parametrize("count", range(1, len(EVENTS) + 1))
async def test_an_upstream_that_writes_as_the_client_reads(
    cutter: Client, cut_key: str, upstream: FakeUpstream, store: Store, count: int
) -> None:
    upstream.plays(MODEL, role(), *EVENTS[:count], stall())

    await leave_after(cutter, count)

    record = await the_record(store, cut_key)
    assert charged(record) == tokens(count)
    assert (record.state, record.usage_source, record.error_type) == ("estimated", "tokenizer", "client_left")
    assert record.prompt_tokens == PROMPT_TOKENS


@pytest.mark.parametrize("count", range(1, len(EVENTS) + 1))
async def test_an_upstream_that_is_far_ahead(
    cutter: Client, cut_key: str, upstream: FakeUpstream, store: Store, count: int
) -> None:
    upstream.plays(MODEL, b"".join((role(), *EVENTS)), stall())

    await leave_after(cutter, count)

    record = await the_record(store, cut_key)
    assert tokens(count) <= charged(record) <= tokens(len(EVENTS))
    assert record.state == "estimated"


async def test_before_the_first_event(
    cutter: Client, cut_key: str, upstream: FakeUpstream, store: Store
) -> None:
    upstream.plays(MODEL, role(), stall())
    with pytest.raises(httpx2.ReadTimeout):
        await cutter.http.post(
            cutter.url + "/v1/chat/completions",
            json={"model": MODEL, "messages": HI, "stream": True},
            headers=cutter.headers,
            timeout=0.2,
        )

    record = await the_record(store, cut_key)
    assert charged(record) == 0
    assert (record.state, record.error_type) == ("estimated", "client_left")
    assert record.prompt_tokens == PROMPT_TOKENS


@pytest.mark.parametrize("is_told", [True, False], ids=["with usage", "without"])
async def test_after_the_finish_reason_the_usage_is_waited_for(
    cutter: Client, cut_key: str, upstream: FakeUpstream, store: Store, is_told: bool
) -> None:
    left = asyncio.Event()
    rest: tuple[Step, ...] = (usage(7, 99), done()) if is_told else (done(),)
    upstream.plays(MODEL, role(), *FINISHED, until(left), *rest)

    await leave_after(cutter, len(FINISHED))
    left.set()

    record = await the_record(store, cut_key)
    assert charged(record) == (99 if is_told else tokens(len(EVENTS)))
    assert (record.state, record.error_type) == ("exact" if is_told else "estimated", None)


@pytest.mark.parametrize("wants_usage", [True, False], ids=["asked for usage", "did not"])
async def test_a_whole_stream_is_settled_before_its_last_event(
    cutter: Client, cut_key: str, upstream: FakeUpstream, store: Store, wants_usage: bool
) -> None:
    upstream.plays(MODEL, role(), *FINISHED, usage(7, 99), done())
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if wants_usage else {}

    async with cutter.stream(MODEL, **options) as answer:
        async for data in answer.aiter_bytes():
            if b"[DONE]" in data:
                entries = await store.call("XLEN", keys.ledger(cut_key.removeprefix("tg-")[:2]))
                assert entries == 1

    assert charged(await the_record(store, cut_key)) == 99
