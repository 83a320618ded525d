"""Upstreams that fail, rest, recover, and are slow: what callers see, and how often upstreams are asked."""

import asyncio
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.routing.health import BREAKER, MODEL
from gateway.routing.pace import LEAST
from gateway.store.client import Store
from gateway.telemetry.metrics import ATTEMPTS, BREAKER_STATE
from tests.integration.dataplane.conftest import StartGateway
from tests.support import polling
from tests.support.client import Client, client_of
from tests.support.fake_upstream import FakeUpstream, done, event, finish, role, stall, text, until, usage
from tests.support.gateway import RunningGateway
from tests.support.ledger import counted, the_record

MODEL_ID = "gpt-4.1-mini"


@pytest.fixture
async def one(start_gateway: StartGateway, upstream: FakeUpstream) -> RunningGateway:
    """A gateway with a single target."""
    return await start_gateway({"a": {"base_url": upstream.url}}, {"support": {"model": MODEL_ID}})


@pytest.fixture
async def client_of_one(one: RunningGateway) -> Any:
    async with client_of(one.url, await one.new_key()) as client:
        yield client


def later(gateway: RunningGateway, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of routing be ahead."""
    for part in (gateway.worker.service, gateway.worker.service._attempts):
        monkeypatch.setattr(part, "_clock", lambda: time.monotonic() + seconds)
    attempting = gateway.worker.service._attempts._attempting
    monkeypatch.setattr(attempting, "_clock", lambda: time.monotonic() + seconds)


class TestRetries:
    async def test_a_target_that_stands_alone_is_asked_again(
        self, client_of_one: Client, upstream: FakeUpstream
    ) -> None:
        upstream.refuses(MODEL_ID, 500, times=2)

        reply = await client_of_one.chat()

        assert reply.status_code == 200
        assert reply.headers["x-tunegate-attempts"] == "3"
        assert reply.headers["x-tunegate-fallback"] == "none"

    async def test_three_times_at_most(self, client_of_one: Client, upstream: FakeUpstream) -> None:
        upstream.refuses(MODEL_ID, 500, times=4)
        assert (await client_of_one.chat()).status_code == 502
        assert len(upstream.calls) == 3

    async def test_a_rate_limit_is_waited_for_where_nothing_else_is_left(
        self, client_of_one: Client, upstream: FakeUpstream
    ) -> None:
        upstream.refuses(MODEL_ID, 429, "rate_limit_exceeded", headers={"retry-after-ms": "300"})
        began = time.monotonic()

        reply = await client_of_one.chat()

        assert reply.status_code == 200
        assert time.monotonic() - began >= 0.3
        assert float(reply.headers["x-tunegate-overhead-ms"]) < 300

    async def test_but_not_for_long(self, client_of_one: Client, upstream: FakeUpstream) -> None:
        upstream.refuses(MODEL_ID, 429, "rate_limit_exceeded", headers={"retry-after": "30"})

        refused = [await client_of_one.chat() for _ in range(2)]

        assert [reply.status_code for reply in refused] == [429, 429]
        assert int(refused[1].headers["retry-after"]) in (29, 30)
        assert len(upstream.calls) == 1  # the second one was not even sent

    async def test_a_model_that_is_being_loaded_is_waited_for(
        self, client_of_one: Client, upstream: FakeUpstream, one: RunningGateway
    ) -> None:
        message = "The model is still being loaded. Try again soon."
        upstream.refuses(MODEL_ID, 429, None, message, times=4, headers={"retry-after-ms": "20"})

        assert (await client_of_one.chat()).status_code == 200
        assert len(upstream.calls) == 5
        assert one.worker.health.cooling_until("a", 0, MODEL_ID, time.monotonic()) == 0

    async def test_too_large_for_the_limit_is_told_at_once(
        self, client_of_one: Client, upstream: FakeUpstream
    ) -> None:
        upstream.refuses(MODEL_ID, 429, "rate_limit_exceeded", "Request too large for gpt-4.1", times=2)
        assert (await client_of_one.chat()).status_code == 429
        assert len(upstream.calls) == 1

    async def test_a_first_token_that_does_not_come_is_not_waited_for_twice(
        self, start_gateway: StartGateway, upstream: FakeUpstream
    ) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url, "timeouts": {"first_token_s": 0.1}}},
            {"support": {"model": MODEL_ID}},
        )
        upstream.plays(MODEL_ID, role(), stall())
        async with client_of(gateway.url, await gateway.new_key()) as client:
            assert (await client.chat(stream=True)).status_code == 504
        assert len(upstream.calls) == 1

    async def test_retries_are_a_small_part_of_the_calls(
        self, client_of_one: Client, upstream: FakeUpstream
    ) -> None:
        upstream.refuses(MODEL_ID, 500, times=200)

        replies = await asyncio.gather(*(client_of_one.chat() for _ in range(40)))

        assert {reply.status_code for reply in replies} <= {502, 503}
        assert len(upstream.calls) <= 40 + max(3, 0.2 * 40)


class TestBreaker:
    async def test_an_upstream_that_fails_again_and_again_is_left_alone(
        self,
        client_of_one: Client,
        one: RunningGateway,
        upstream: FakeUpstream,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        upstream.refuses(MODEL_ID, 500, times=5)
        with capture_logs() as lines:
            while len(upstream.calls) < BREAKER.in_a_row:
                assert (await client_of_one.chat()).status_code == 502
            began = time.monotonic()
            refused = await client_of_one.chat()

            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_upstream")
            assert 1 <= int(refused.headers["retry-after"]) <= BREAKER.rest_s
            assert time.monotonic() - began < 1
            assert len(upstream.calls) == BREAKER.in_a_row
            assert counted(one, BREAKER_STATE) == {("a",): 1}
            assert one.worker.health_report()["a"]["open"] == [0]

            later(one, BREAKER.rest_s, monkeypatch)
            assert (await client_of_one.chat()).status_code == 200  # the probe
        assert counted(one, BREAKER_STATE) == {("a",): 0}
        said = [line["event"] for line in lines if "upstream" in line and line["log_level"] != "debug"]
        assert said == ["an upstream fails again and again; it rests", "an upstream serves again"]

    async def test_streams_that_break_count(self, client_of_one: Client, upstream: FakeUpstream) -> None:
        for _ in range(BREAKER.in_a_row):
            upstream.plays(MODEL_ID, role(), text("Hel"), event({"error": {"message": "lost"}}))
        for _ in range(BREAKER.in_a_row):
            assert "upstream_error" in (await client_of_one.chat(stream=True)).text
        assert (await client_of_one.chat()).json()["error"]["code"] == "no_upstream"

    async def test_other_targets_serve_meanwhile(
        self, start_gateway: StartGateway, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url}, "b": {"base_url": relay.url}},
            {"support": {"model": MODEL_ID, "upstreams": ["a", "b"]}},
        )
        upstream.refuses(MODEL_ID, 500, times=20)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            replies = [await client.chat() for _ in range(12)]

        assert {reply.status_code for reply in replies} == {200}
        assert [reply.headers["x-tunegate-attempts"] for reply in replies] == ["2"] * 5 + ["1"] * 7
        assert [reply.headers["x-tunegate-fallback"] for reply in replies] == (
            ["server_error"] * 5 + ["breaker_open"] * 7
        )
        assert len(upstream.calls) == BREAKER.in_a_row


class TestMissingModels:
    async def test_a_model_that_is_gone_is_not_asked_for_again_and_again(
        self, start_gateway: StartGateway, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url}},
            {"support": {"model": MODEL_ID, "fallbacks": ["other"]}, "bare": {"model": MODEL_ID}},
        )
        upstream.refuses(MODEL_ID, 404, "model_not_found")
        async with client_of(gateway.url, await gateway.new_key()) as client:
            replies = [await client.chat() for _ in range(4)]
            bare = await client.chat(model="bare")
            later(gateway, MODEL.rest_s, monkeypatch)
            found = await client.chat(model="bare")

        assert [reply.headers["x-tunegate-fallback"] for reply in replies] == (
            ["model_not_found"] + ["model_gone"] * 3
        )
        assert {reply.headers["x-tunegate-model"] for reply in replies} == {"other"}
        assert (bare.status_code, bare.json()["error"]["code"]) == (404, "model_not_found")
        assert len(upstream.calls_of(MODEL_ID)) == 2  # the first one, and the probe that found it again
        assert found.status_code == 200


class TestHedging:
    @pytest.fixture
    async def hedged(
        self, start_gateway: StartGateway, upstream: FakeUpstream, relay: FakeUpstream
    ) -> RunningGateway:
        """Its first target is known to be quick."""
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url}, "b": {"base_url": relay.url}},
            {"support": {"model": MODEL_ID, "upstreams": ["a", "b"], "hedge": True}},
        )
        for _ in range(LEAST):
            gateway.worker.service._attempts._pace.took("a", MODEL_ID, 0.05, stream=True)
        return gateway

    ANSWER = (role(), text("Hi"), finish(), usage(7, 2), done())

    async def test_a_slow_attempt_gets_a_second_one_beside_it(
        self, hedged: RunningGateway, upstream: FakeUpstream, relay: FakeUpstream, store: Store
    ) -> None:
        key = await hedged.new_key()
        upstream.plays(MODEL_ID, role(), stall())
        relay.plays(MODEL_ID, *self.ANSWER)
        async with client_of(hedged.url, key) as client:
            reply = await client.chat(stream=True)

        assert "Hi" in reply.text
        assert reply.headers["x-tunegate-upstream"] == "b"
        assert reply.headers["x-tunegate-attempts"] == "2"
        await asyncio.wait_for(upstream.calls[0].closed.wait(), 1)  # the loser is given up
        record = await the_record(store, key)
        assert [(attempt.upstream, attempt.outcome, attempt.state) for attempt in record.attempts] == [
            ("a", "hedged", "estimated"),
            ("b", "committed", "exact"),
        ]
        loser, winner = record.attempts
        assert (loser.prompt_tokens, loser.completion_tokens) == (7, 0)
        assert loser.cost_nanousd
        assert winner.cost_nanousd
        assert record.cost_nanousd == loser.cost_nanousd + winner.cost_nanousd
        assert counted(hedged, ATTEMPTS)["a", "hedged"] == 1
        assert hedged.worker.health.in_flight("a") == hedged.worker.health.in_flight("b") == 0

    async def test_the_first_may_still_win(
        self, hedged: RunningGateway, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        relay.plays(MODEL_ID, role(), stall())
        hedge_began = asyncio.Event()
        upstream.plays(MODEL_ID, role(), until(hedge_began), text("Slow"), finish(), done())
        async with client_of(hedged.url, await hedged.new_key()) as client:
            asking = asyncio.create_task(client.chat(stream=True))
            await polling.until(lambda: relay.calls, "the hedge")
            hedge_began.set()
            reply = await asking

        assert "Slow" in reply.text
        assert reply.headers["x-tunegate-upstream"] == "a"
        assert reply.headers["x-tunegate-fallback"] == "none"

    async def test_a_quick_attempt_stays_alone(
        self, hedged: RunningGateway, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        async with client_of(hedged.url, await hedged.new_key()) as client:
            for _ in range(3):
                upstream.plays(MODEL_ID, *self.ANSWER)
                assert (await client.chat(stream=True)).headers["x-tunegate-attempts"] == "1"
        assert relay.calls == []

    async def test_both_may_fail(
        self, hedged: RunningGateway, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        hedge_began = asyncio.Event()
        upstream.plays(MODEL_ID, until(hedge_began), event({"error": {"message": "no"}}))
        relay.refuses(MODEL_ID, 500)
        async with client_of(hedged.url, await hedged.new_key()) as client:
            asking = asyncio.create_task(client.chat(stream=True))
            await polling.until(lambda: relay.calls, "the hedge")
            hedge_began.set()
            assert (await asking).status_code == 200  # a retry
        assert [len(upstream.calls), len(relay.calls)] == [2, 1]
