"""Every admitted call ends as exactly one record, written before its caller has the last byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.metering.record import LedgerRecord
from gateway.metering.tokenizer import count_prompt, count_text
from gateway.store.client import Store
from gateway.telemetry.metrics import JOURNAL_PENDING, SETTLEMENTS
from tests.integration.dataplane.conftest import BASE, FT, StartGateway
from tests.support.client import HI, Client, chat_bytes, client_of
from tests.support.fake_upstream import (
    FakeUpstream,
    done,
    drop,
    finish,
    role,
    stall,
    text,
    until,
    usage,
)
from tests.support.gateway import RunningGateway, config_text, running_gateway
from tests.support.ledger import NOTHING_HELD, counted, entries, held, id_of, records, the_record
from tests.support.onlooker import Onlooker
from tests.support.polling import until as becomes_true
from tests.support.valkey import ValkeyServer

FT_INPUT, FT_OUTPUT = 800, 3200  # nano-dollars a token
WORDS = ("Turn ", "it ", "off ", "and ", "on ", "again.")


def told(record: LedgerRecord) -> list[tuple[str, str, str]]:
    """The attempts of a record: (upstream, outcome, state)."""
    return [(attempt.upstream, attempt.outcome, attempt.state) for attempt in record.attempts]


def prompt_tokens(model: str = FT) -> int:
    """What the prompt of a plain call counts, off the loop as the gateway does it."""
    return count_prompt({"messages": msgspec.Raw(msgspec.json.encode(HI))}, model)


class TestExact:
    async def test_a_whole_reply(
        self, client: Client, key: str, store: Store, gateway: RunningGateway
    ) -> None:
        reply = await client.chat()
        written = await entries(store, key)  # no waiting: it was there before the reply

        ((kind, record),) = written
        assert kind == "event"
        assert reply.headers["x-request-id"] == record.request_id
        assert (record.key, record.alias, record.release) == (id_of(key), "support", "support@1/stable")
        assert (record.model, record.upstream, record.upstream_request_id) == (FT, "openai", "req_upstream")
        assert (record.route, record.stream, record.cache) == ("chat.completions", False, None)
        assert (record.state, record.usage_source, record.error_type) == ("exact", "upstream", None)
        assert (record.prompt_tokens, record.completion_tokens) == (7, 2)
        assert (record.cached_tokens, record.reasoning_tokens, record.saved_nanousd) == (0, 0, 0)
        assert record.cost_nanousd == 7 * FT_INPUT + 2 * FT_OUTPUT
        assert told(record) == [("openai", "committed", "exact")]
        assert record.fallback == "none"
        assert abs(record.ts - time.time()) < 60
        assert record.ttft_ms is None
        assert record.duration_ms is not None
        assert record.duration_ms > 0
        assert counted(gateway, SETTLEMENTS) == {("exact",): 1}
        assert await the_record(store, key) == record

    async def test_a_store_that_has_forgotten_the_scripts(
        self, client: Client, key: str, store: Store, gateway: RunningGateway, valkey: ValkeyServer
    ) -> None:
        """Once before the admission, once while the upstream is at work."""
        await client.chat()
        valkey.run("SCRIPT", "FLUSH", "SYNC")
        first = await client.chat()
        async with client.stream() as reply:
            pieces = reply.aiter_raw()
            await anext(pieces)
            valkey.run("SCRIPT", "FLUSH", "SYNC")
            async for _ in pieces:
                pass

        written = await entries(store, key)
        assert [(kind, record.state) for kind, record in written] == 3 * [("event", "exact")]
        assert written[1][1].request_id == first.headers["x-request-id"]
        assert counted(gateway, SETTLEMENTS) == {("exact",): 3}
        assert await held(store, key) == NOTHING_HELD

    async def test_a_stream(self, client: Client, key: str, store: Store) -> None:
        async with client.stream() as reply:
            async for piece in reply.aiter_raw():
                if piece.endswith(done()):
                    written = await entries(store, key)  # it was there before [DONE]

        ((_, record),) = written
        assert (record.stream, record.state, record.usage_source) == (True, "exact", "upstream")
        assert (record.prompt_tokens, record.completion_tokens) == (7, 2)
        assert record.ttft_ms is not None
        assert record.duration_ms is not None
        assert 0 < record.ttft_ms <= record.duration_ms
        assert await the_record(store, key) == record

    @pytest.mark.parametrize(
        ("path", "route", "body"),
        [
            ("/v1/embeddings", "embeddings", {"model": "text-embedding-3-small", "input": ["hi", "there"]}),
            ("/v1/completions", "completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "hi"}),
        ],
    )
    async def test_the_other_routes(
        self, client: Client, key: str, store: Store, path: str, route: str, body: dict[str, Any]
    ) -> None:
        assert (await client.post(path, body)).status_code == 200

        record = await the_record(store, key)
        assert (record.route, record.state, record.alias) == (route, "exact", None)
        assert record.cost_nanousd is not None
        assert record.cost_nanousd > 0

    async def test_attempts_that_failed_are_listed(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        upstream.refuses(FT, 500)
        relay.refuses(FT, 429)
        assert (await client.chat()).status_code == 200

        record = await the_record(store, key)
        assert told(record) == [
            ("openai", "server_error", "released"),
            ("relay", "rate_limited", "released"),
            ("openai", "committed", "exact"),
        ]
        assert [attempt.model for attempt in record.attempts] == [FT, FT, BASE]
        assert [attempt.cost_nanousd for attempt in record.attempts] == [0, 0, record.cost_nanousd]
        assert (record.fallback, record.model, record.upstream) == ("server_error", BASE, "openai")

    async def test_a_client_that_left_with_its_answer_complete(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        go_on = asyncio.Event()
        upstream.plays(FT, role(), text("Hel"), finish(), until(go_on), usage(7, 1), done())
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client, client.stream() as reply:
            async for piece in reply.aiter_raw():
                if piece.endswith(finish()):
                    break
        go_on.set()

        record = await the_record(store, key)
        assert (record.state, record.usage_source, record.completion_tokens) == ("exact", "upstream", 1)


class TestEstimated:
    async def test_no_usage(self, client: Client, key: str, store: Store, upstream: FakeUpstream) -> None:
        upstream.plays(FT, role(), *map(text, WORDS), finish(), done())
        assert (await client.chat(stream=True)).content.endswith(done())

        record = await the_record(store, key)
        assert (record.state, record.usage_source, record.error_type) == ("estimated", "tokenizer", None)
        assert record.prompt_tokens == prompt_tokens()
        assert record.completion_tokens == count_text("".join(WORDS), FT)
        assert record.cost_nanousd == (record.prompt_tokens * FT_INPUT + record.completion_tokens * FT_OUTPUT)

    async def test_no_usage_in_a_whole_reply(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream
    ) -> None:
        message = {"role": "assistant", "content": "".join(WORDS)}
        upstream.answers(FT, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        assert (await client.chat()).status_code == 200

        record = await the_record(store, key)
        assert (record.state, record.usage_source) == ("estimated", "tokenizer")
        assert record.completion_tokens == count_text("".join(WORDS), FT)

    async def test_a_stream_whose_process_must_end(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream
    ) -> None:
        upstream.plays(FT, role(), *map(text, WORDS), stall())
        async with client.stream() as reply:
            arrived = b""
            async for piece in reply.aiter_raw():
                arrived += piece
                if WORDS[-1].encode() in arrived:
                    break
            for task in asyncio.all_tasks():
                if "DataPlane" in repr(task.get_coro()):
                    task.cancel()
            record = await the_record(store, key)
        assert record.state == "estimated"
        assert record.completion_tokens == count_text("".join(WORDS), FT)

    @pytest.mark.parametrize("ending", [(drop(),), ()], ids=["reset", "ended"])
    async def test_a_cut_stream(
        self,
        client: Client,
        key: str,
        store: Store,
        upstream: FakeUpstream,
        ending: tuple[Any, ...],
    ) -> None:
        upstream.plays(FT, role(), *map(text, WORDS), *ending)
        await client.chat(stream=True)

        record = await the_record(store, key)
        assert (record.state, record.usage_source) == ("estimated", "tokenizer")
        assert record.error_type == "stream_truncated"
        assert record.completion_tokens == count_text("".join(WORDS), FT)
        assert told(record) == [("openai", "committed", "estimated")]

    async def test_a_stalled_stream(
        self, start_gateway: StartGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url, "timeouts": {"idle_s": 0.2}}}, {"support": {"model": BASE}}
        )
        upstream.plays(BASE, role(), *map(text, WORDS), stall())
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            await client.chat(stream=True)

        record = await the_record(store, key)
        assert (record.state, record.error_type) == ("estimated", "stream_stalled")
        assert record.completion_tokens == count_text("".join(WORDS), BASE)

    async def test_usage_that_came_before_the_cut_is_not_undercut(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream
    ) -> None:
        upstream.plays(FT, role(), text("Hel"), usage(50, 40), drop())
        await client.chat(stream=True)

        record = await the_record(store, key)
        assert (record.state, record.prompt_tokens, record.completion_tokens) == ("estimated", 50, 40)

    async def test_a_client_that_leaves_pays_for_what_was_relayed(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        """Cut at every event: not less than what was relayed, not more than what was made."""
        produced = count_text("".join(WORDS), FT)
        for seen in range(1, len(WORDS) + 1):
            upstream.plays(FT, role(), *map(text, WORDS[:seen]), stall())
            key = await gateway.new_key()
            relayed = b""
            async with client_of(gateway.url, key) as client, client.stream() as reply:
                async for piece in reply.aiter_raw():
                    relayed += piece
                    if relayed.count(b"data: ") == 1 + seen:
                        break

            record = await the_record(store, key)
            assert (record.state, record.error_type) == ("estimated", "client_left")
            assert record.completion_tokens is not None
            assert count_text("".join(WORDS[:seen]), FT) <= record.completion_tokens <= produced
            assert record.prompt_tokens == prompt_tokens()

    async def test_a_client_that_leaves_before_anything_came_pays_for_its_prompt(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        upstream.plays(FT, stall())
        key = await gateway.new_key()
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(chat_bytes(key))
        await becomes_true(lambda: upstream.calls)
        writer.close()

        record = await the_record(store, key)
        assert (record.state, record.error_type) == ("estimated", "client_left")
        assert (record.prompt_tokens, record.completion_tokens) == (prompt_tokens(), 0)
        assert told(record) == [("openai", "client_left", "estimated")]


class TestReleased:
    async def test_every_attempt_failed(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        upstream.refuses(FT, 500, times=3)
        for _ in range(3):
            relay.plays(FT, drop())
        upstream.refuses(BASE, 500, times=3)
        reply = await client.chat()

        assert reply.status_code == 502
        record = await the_record(store, key)
        assert record.request_id == reply.headers["x-request-id"]
        assert (record.state, record.usage_source, record.error_type) == (
            "released",
            "none",
            "upstream_error",
        )
        assert (record.prompt_tokens, record.completion_tokens, record.cost_nanousd) == (0, 0, 0)
        assert [attempt.state for attempt in record.attempts] == ["released"] * 6

    async def test_the_callers_own_mistake(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream
    ) -> None:
        upstream.refuses(FT, 400, "context_length_exceeded")
        assert (await client.chat()).status_code == 400

        record = await the_record(store, key)
        assert (record.state, record.error_type) == ("released", "context_length_exceeded")
        assert told(record) == [("openai", "rejected", "released")]

    async def test_nobody_to_ask(
        self, start_gateway: StartGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url, "api_keys": [""]}}, {"support": {"model": "m"}}
        )
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            assert (await client.chat()).status_code == 503

        record = await the_record(store, key)
        assert (record.state, record.error_type, record.attempts) == ("released", "no_upstream", ())

    @pytest.mark.parametrize(
        "refused", [{"max_tokens": 0}, {"max_tokens": -1}, {"max_tokens": 1.5}, {"max_tokens": "9"}, {"n": 0}]
    )
    async def test_refused_calls_have_no_record(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream, refused: dict[str, Any]
    ) -> None:
        reply = await client.chat(**refused)

        assert reply.status_code == 400
        error = reply.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", next(iter(refused)))
        assert upstream.calls == []
        assert await entries(store, key) == []
        assert await held(store, key) == NOTHING_HELD

    @pytest.mark.parametrize("passed", [{"max_tokens": None}, {"max_tokens": 5.0}, {"max_tokens": 999_000}])
    async def test_odd_caps_that_are_served(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream, passed: dict[str, Any]
    ) -> None:
        assert (await client.chat(**passed)).status_code == 200

        assert upstream.calls[0].json["max_tokens"] == passed["max_tokens"]
        assert (await the_record(store, key)).state == "exact"


class TestDraining:
    async def test_a_stream_that_is_stopped_is_charged_for_what_was_relayed(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream, gateway: RunningGateway
    ) -> None:
        upstream.plays(FT, role(), *map(text, WORDS), stall())
        relayed = b""
        async with client.stream() as reply:
            async for piece in reply.aiter_raw():
                relayed += piece
                if relayed.count(b"data: ") == 1 + len(WORDS):
                    gateway.worker.service.stop_calls()

        assert b"gateway_draining" in relayed
        record = await the_record(store, key)
        assert (record.state, record.error_type) == ("estimated", "gateway_draining")
        assert record.completion_tokens == count_text("".join(WORDS), FT)

    async def test_one_that_has_sent_nothing_says_why_it_ended(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream, gateway: RunningGateway
    ) -> None:
        upstream.plays(FT, stall())
        waiting = asyncio.create_task(client.chat())
        await becomes_true(lambda: upstream.calls)
        gateway.worker.service.stop_calls()

        assert (await waiting).status_code == 503
        assert (await the_record(store, key)).error_type == "gateway_draining"

    async def test_new_calls_are_refused_without_a_record(
        self, client: Client, key: str, store: Store, gateway: RunningGateway
    ) -> None:
        gateway.worker.service.is_refusing = True
        assert (await client.chat()).json()["error"]["code"] == "gateway_draining"
        assert await entries(store, key) == []


class TestWhileTheStoreSleeps:
    @pytest.fixture
    async def sleepy(self) -> AsyncIterator[ValkeyServer]:
        """A store of this test's own, so that it can be stopped."""
        with ValkeyServer() as server:
            yield server
            server.resume()

    @pytest.fixture
    async def own_store(self, sleepy: ValkeyServer) -> AsyncIterator[Store]:
        store = Onlooker(sleepy, timeout_s=5)
        await store.open()
        yield store
        await store.aclose()

    async def test_done_waits_for_the_disk_and_the_record_comes_later(
        self, sleepy: ValkeyServer, own_store: Store, upstream: FakeUpstream, tmp_path: Path
    ) -> None:
        config = config_text(
            sleepy.url,
            {"openai": {"base_url": upstream.url, "owns": ["acme"]}},
            {"support": {"model": FT}},
            store={"url": sleepy.url, "timeout_ms": 2000, "settle_timeout_ms": 300},
        )
        go_on = asyncio.Event()
        upstream.plays(FT, role(), text("Hel"), finish(), until(go_on), usage(7, 2), done())
        async with running_gateway(config, own_store, tmp_path) as gateway:
            key = await gateway.new_key()
            async with client_of(gateway.url, key) as client, client.stream() as reply:
                received = b""
                paused_at = 0.0
                async for piece in reply.aiter_raw():
                    received += piece
                    if received.endswith(finish()) and not paused_at:
                        sleepy.pause()
                        paused_at = time.monotonic()
                        go_on.set()
                waited = time.monotonic() - paused_at

            assert received.endswith(finish() + done())
            assert 0.3 <= waited < 0.3 + 1.0
            assert list((tmp_path / "data" / "journal").iterdir()) != []
            assert counted(gateway, JOURNAL_PENDING) == {(): 1}
            sleepy.resume()

            (record,) = await records(own_store, key, within_s=10)
            assert (record.state, record.completion_tokens) == ("exact", 2)
            assert record.request_id == reply.headers["x-request-id"]
            await becomes_true(lambda: counted(gateway, JOURNAL_PENDING) == {(): 0}, "an empty journal")
            assert await held(own_store, key) == NOTHING_HELD
        assert len(await entries(own_store, key)) == 1
