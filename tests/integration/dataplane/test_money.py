"""Budgets, credit and cost: what a call holds, what it is charged, and who is told what."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any, Literal

import httpx2
import pytest

from gateway.auth.record import KeyBudget
from gateway.store.accounts import AccountStore
from gateway.store.client import Store
from tests.integration.dataplane.conftest import BASE, FT, StartGateway
from tests.support.client import HI, client_of
from tests.support.fake_upstream import FakeUpstream, done, finish, role, text, until
from tests.support.gateway import RunningGateway
from tests.support.ledger import NOTHING_HELD, entries, held, id_of, records, the_record

NANO = 10**9
# Nano-dollars a token: the fine-tune at 0.80 and 3.20 USD a million, its base at 0.40 and 1.60.
FT_INPUT, FT_OUTPUT = 800, 3200
BASE_INPUT, BASE_OUTPUT = 400, 1600
PLAIN = 7 * FT_INPUT + 2 * FT_OUTPUT  # the fake upstream's plain answer


def usage(prompt: int, completion: int, **details: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return counts | details


def answer(used: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
    """A whole answer with this usage."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": used}
    return body | fields


def prompt_bytes(**fields: Any) -> int:
    """As many tokens as the prompt of such a stream can have at most."""
    values = {"model": "support", "messages": HI, "stream": True} | fields
    return sum(len(json.dumps(value, separators=(",", ":"))) for value in values.values())


def out_of_money(reply: httpx2.Response) -> str:
    """The message of a refusal for want of money; all else of it is checked."""
    assert reply.status_code == 429
    error = reply.json()["error"]
    assert (error["type"], error["code"], error["param"]) == (
        "insufficient_quota",
        "insufficient_quota",
        None,
    )
    assert reply.headers["x-should-retry"] == "false"
    assert "retry-after" not in reply.headers
    assert "retry-after-ms" not in reply.headers
    message: str = error["message"]
    return message


def budget(nanousd: int, period: Literal["day", "month", "total"] = "total") -> KeyBudget:
    return KeyBudget(nanousd, period)


@pytest.fixture
async def dear_relay(
    start_gateway: StartGateway, upstream: FakeUpstream, relay: FakeUpstream
) -> RunningGateway:
    """`support` is a fine-tune, at the relay for double; its fallback is the base."""
    return await start_gateway(
        {
            "openai": {"base_url": upstream.url, "owns": ["acme"]},
            "relay": {"base_url": relay.url, "owns": ["acme"], "price_multiplier": 2},
        },
        {
            "support": {
                "model": FT,
                "upstreams": ["openai", "relay"],
                "fallbacks": [{"model": "base", "upstreams": ["openai"]}],
            }
        },
    )


class TestHolding:
    @pytest.mark.parametrize("period", ["day", "month", "total"])
    async def test_the_whole_bound_is_held_at_the_dearest_target_and_then_released(
        self,
        dear_relay: RunningGateway,
        upstream: FakeUpstream,
        store: Store,
        period: Literal["day", "month", "total"],
    ) -> None:
        go_on = asyncio.Event()
        upstream.plays(FT, role(), text("Hel"), until(go_on), finish(), done())
        key = await dear_relay.new_key(budget=budget(NANO, period))
        asked: dict[str, Any] = {"max_tokens": 100}
        async with client_of(dear_relay.url, key) as client, client.stream(**asked) as reply:
            bound = 2 * (prompt_bytes(**asked) * FT_INPUT + 100 * FT_OUTPUT)
            assert await held(store, key) == {"reservations": 1, "leases": 1, "calls": 1, "nanousd": bound}
            status = (await client.get("/v1/key")).json()["budget"]
            assert round(float(status["reserved_usd"]) * NANO) == bound
            go_on.set()
            await reply.aread()

        record = await the_record(store, key)
        assert record.cost_nanousd is not None
        assert 0 < record.cost_nanousd < bound
        async with client_of(dear_relay.url, key) as client:
            status = (await client.get("/v1/key")).json()["budget"]
        assert (status["period"], status["reserved_usd"]) == (period, "0")
        assert round(float(status["used_usd"]) * NANO) == record.cost_nanousd

    @pytest.mark.parametrize(
        ("fields", "output"),
        [
            ({"max_tokens": 100, "n": 3}, 300),
            ({"max_tokens": 100, "max_completion_tokens": 60}, 100),
            ({"max_tokens": None, "max_completion_tokens": 60}, 60),
            ({}, 32_768),  # what the model answers with at most
            ({"max_tokens": 1_000_000_000}, 32_768),
            ({"max_tokens": 40_000}, 32_768),
        ],
        ids=json.dumps,
    )
    async def test_what_an_answer_may_have(
        self,
        gateway: RunningGateway,
        upstream: FakeUpstream,
        store: Store,
        fields: dict[str, Any],
        output: int,
    ) -> None:
        go_on = asyncio.Event()
        upstream.plays(FT, role(), text("Hel"), until(go_on), finish(), done())
        key = await gateway.new_key(budget=budget(NANO), limits={"tpm": None})
        async with client_of(gateway.url, key) as client, client.stream(**fields) as reply:
            assert reply.status_code == 200
            bound = prompt_bytes(**fields) * FT_INPUT + output * FT_OUTPUT
            assert (await held(store, key))["nanousd"] == bound
            go_on.set()
            await reply.aread()

    async def test_the_caps_of_alias_and_key_hold_and_reach_the_upstream(
        self, start_gateway: StartGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        gateway = await start_gateway(
            {"openai": {"base_url": upstream.url, "owns": ["acme"]}},
            {"support": {"model": FT, "max_output_tokens": 80}},
        )
        go_on = asyncio.Event()
        upstream.plays(FT, role(), text("Hel"), until(go_on), finish(), done())
        key = await gateway.new_key(budget=budget(NANO), max_output_tokens=50)
        async with client_of(gateway.url, key) as client, client.stream() as reply:
            bound = prompt_bytes() * FT_INPUT + 50 * FT_OUTPUT
            assert (await held(store, key))["nanousd"] == bound
            go_on.set()
            await reply.aread()

        (sent,) = upstream.calls
        caps = {
            name: sent.json[name] for name in ("max_tokens", "max_completion_tokens") if name in sent.json
        }
        assert list(caps.values()) == [50]

    async def test_null_does_not_undo_a_cap(self, gateway: RunningGateway, upstream: FakeUpstream) -> None:
        key = await gateway.new_key(budget=budget(NANO), max_output_tokens=50)
        async with client_of(gateway.url, key) as client:
            assert (await client.chat(max_tokens=None)).status_code == 200

        (sent,) = upstream.calls
        assert sent.json["max_completion_tokens"] == 50

    @pytest.mark.parametrize(
        ("alias", "rewrite", "output", "price"),
        [
            ({"defaults": {"n": 3}}, {}, 3 * 100, 1),
            ({"defaults": {"max_completion_tokens": 700}}, {}, 700, 1),
            ({"defaults": {"service_tier": "priority"}}, {}, 100, 10),
            ({}, {"drop": ["max_tokens"]}, 128_000, 1),
            ({}, {"rename": {"max_tokens": "max_completion_tokens"}}, 100, 1),
            ({}, {"set": {"n": 2, "max_completion_tokens": 900}}, 2 * 900, 1),
            ({}, {"set": {"service_tier": "priority"}}, 100, 10),
        ],
        ids=str,
    )
    async def test_what_the_operator_fills_in_is_held_too(
        self,
        start_gateway: StartGateway,
        upstream: FakeUpstream,
        store: Store,
        alias: dict[str, Any],
        rewrite: dict[str, Any],
        output: int,
        price: int,
    ) -> None:
        tiers = {"priority": {"input": 10, "output": 10}}
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url}},
            {"support": {"model": "m", "rewrite": "other" if rewrite else None} | alias},
            prices={"m": {"input": 1, "output": 1, "service_tiers": tiers}},
            rewrites={"other": rewrite} if rewrite else {},
        )
        go_on = asyncio.Event()
        upstream.plays("m", role(), text("Hel"), until(go_on), finish(), done())
        key = await gateway.new_key(budget=budget(NANO))
        async with client_of(gateway.url, key) as client, client.stream(max_tokens=100) as reply:
            assert reply.status_code == 200
            tokens, rest = divmod((await held(store, key))["nanousd"], 1000 * price)
            go_on.set()
            await reply.aread()

        assert rest == 0
        by_caller = prompt_bytes(max_tokens=100)
        assert output + by_caller <= tokens <= output + by_caller + 20  # the fields themselves are in it

    async def test_calls_at_once_never_hold_more_than_there_is(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        asked: dict[str, Any] = {"max_tokens": 1000}
        bound = prompt_bytes(**asked) * FT_INPUT + 1000 * FT_OUTPUT
        key = await gateway.new_key(budget=budget(4 * bound + 1000))
        go_on = asyncio.Event()
        for _ in range(4):
            upstream.plays(FT, role(), text("Hel"), until(go_on), finish(), done())
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(client_of(gateway.url, key))
            replies = await asyncio.gather(
                *(stack.enter_async_context(client.stream(**asked)) for _ in range(12))
            )
            assert sorted(reply.status_code for reply in replies) == [200] * 4 + [429] * 8
            assert (await held(store, key))["nanousd"] == 4 * bound
            go_on.set()
            for reply in replies:
                await reply.aread()

        assert len(await records(store, key, 4)) == 4
        assert await held(store, key) == NOTHING_HELD

    async def test_a_long_prompt_is_counted_where_its_bytes_do_not_fit(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        messages = [{"role": "user", "content": "hello " * 5000}]
        asked: dict[str, Any] = {"messages": messages, "max_tokens": 10}
        by_bytes = prompt_bytes(**asked) * FT_INPUT + 10 * FT_OUTPUT
        go_on = asyncio.Event()
        upstream.plays(FT, role(), text("Hel"), until(go_on), finish(), done())
        key = await gateway.new_key(budget=budget(by_bytes // 2))
        async with client_of(gateway.url, key) as client, client.stream(**asked) as reply:
            assert reply.status_code == 200
            bound = (await held(store, key))["nanousd"]
            assert 5000 * FT_INPUT < bound < 5200 * FT_INPUT
            go_on.set()
            await reply.aread()

    async def test_embeddings_hold_their_input(self, gateway: RunningGateway, store: Store) -> None:
        key = await gateway.new_key(budget=budget(NANO))
        async with client_of(gateway.url, key) as client:
            reply = await client.post("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hi"})

        assert reply.status_code == 200
        record = await the_record(store, key)
        assert (record.route, record.state, record.cost_nanousd) == ("embeddings", "exact", 3 * 20)
        assert (record.prompt_tokens, record.completion_tokens) == (3, 0)
        assert reply.headers["x-tunegate-cost-usd"] == "0.00000006"


class TestSpent:
    @pytest.mark.parametrize("period", ["day", "month", "total"])
    async def test_a_budget_that_does_not_cover_a_call(
        self,
        gateway: RunningGateway,
        upstream: FakeUpstream,
        store: Store,
        period: Literal["day", "month", "total"],
    ) -> None:
        for _ in range(2):
            upstream.answers(FT, answer(usage(7, 100)))
        key = await gateway.new_key(budget=budget(900_000, period))
        async with client_of(gateway.url, key) as client:
            replies = [await client.chat(max_tokens=100) for _ in range(3)]

        assert [reply.status_code for reply in replies] == [200, 200, 429]
        spent = 2 * (7 * FT_INPUT + 100 * FT_OUTPUT)
        assert spent == 651_200
        message = out_of_money(replies[-1])
        # Its prompt is counted by now, as a bound by its bytes did not fit either.
        assert message.startswith(
            "The budget of this key does not cover this call: it may cost up to $0.0003"
        )
        assert "and $0.0002488 of $0.0009 are left." in message
        assert len(await records(store, key, 2)) == 2
        assert await held(store, key) == NOTHING_HELD

    async def test_prepaid_credit(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        for _ in range(3):
            upstream.answers(FT, answer(usage(7, 100)))
        key = await gateway.new_key(has_credit=True)
        accounts = AccountStore(store)
        await accounts.add_credit(id_of(key), 400_000, grant_id="first")
        async with client_of(gateway.url, key) as client:
            assert (await client.chat(max_tokens=100)).status_code == 200
            message = out_of_money(await client.chat(max_tokens=100))
            left = await accounts.add_credit(id_of(key), 400_000, grant_id="second")
            assert (await client.chat(max_tokens=100)).status_code == 200

        assert "The credit of this key does not cover this call" in message
        assert "and $0.0000744 is left." in message
        assert left == 474_400

    async def test_nothing_granted_yet(self, gateway: RunningGateway, upstream: FakeUpstream) -> None:
        key = await gateway.new_key(has_credit=True)
        async with client_of(gateway.url, key) as client:
            assert "$0 is left" in out_of_money(await client.chat(max_tokens=100))
        assert upstream.calls == []

    async def test_a_budget_of_nothing(self, gateway: RunningGateway) -> None:
        key = await gateway.new_key(budget=budget(0))
        async with client_of(gateway.url, key) as client:
            assert "$0 of $0 are left" in out_of_money(await client.chat(max_tokens=1))

    async def test_a_smaller_cap_may_still_fit(self, gateway: RunningGateway) -> None:
        key = await gateway.new_key(budget=budget(200_000))
        async with client_of(gateway.url, key) as client:
            assert "A lower max_tokens" in out_of_money(await client.chat(max_tokens=100))
            assert (await client.chat(max_tokens=10)).status_code == 200

    async def test_failed_calls_cost_nothing(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        upstream.refuses(FT, 400)
        key = await gateway.new_key(budget=budget(400_000))
        async with client_of(gateway.url, key) as client:
            assert (await client.chat(max_tokens=100)).status_code == 400
            assert (await client.get("/v1/key")).json()["budget"]["remaining_usd"] == "0.0004"
        assert (await the_record(store, key)).state == "released"


class TestCost:
    async def test_the_header_says_what_the_ledger_says(self, gateway: RunningGateway, store: Store) -> None:
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            reply = await client.chat()

        assert reply.headers["x-tunegate-cost-usd"] == "0.000012"
        record = await the_record(store, key)
        assert record.cost_nanousd == PLAIN == 12_000
        assert record.price_version is not None
        assert record.price_version.startswith("genai-prices-")

    async def test_a_stream_has_no_such_header(self, gateway: RunningGateway, store: Store) -> None:
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            reply = await client.chat(stream=True)

        assert "x-tunegate-cost-usd" not in reply.headers
        assert (await the_record(store, key)).cost_nanousd == PLAIN

    async def test_a_fine_tune_is_not_priced_as_its_base(self, gateway: RunningGateway) -> None:
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            tuned, base = await client.chat(FT), await client.chat(BASE)

        assert tuned.headers["x-tunegate-cost-usd"] == "0.000012"
        assert base.headers["x-tunegate-cost-usd"] == "0.000006"

    async def test_a_fine_tune_of_a_base_without_a_row_has_no_price(
        self, gateway: RunningGateway, store: Store
    ) -> None:
        model = "ft:gpt-5-mini-2025-08-07:acme:support:AbC123"
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            reply = await client.chat(model)

        assert reply.status_code == 200
        assert "x-tunegate-cost-usd" not in reply.headers
        record = await the_record(store, key)
        assert (record.state, record.prompt_tokens, record.cost_nanousd) == ("exact", 7, None)
        assert record.attempts[0].cost_nanousd is None

    async def test_the_price_is_that_of_the_target_that_served(
        self, dear_relay: RunningGateway, upstream: FakeUpstream
    ) -> None:
        upstream.refuses(FT, 500)
        key = await dear_relay.new_key()
        async with client_of(dear_relay.url, key) as client:
            reply = await client.chat()

        assert reply.headers["x-tunegate-upstream"] == "relay"
        assert reply.headers["x-tunegate-cost-usd"] == "0.000024"

    async def test_cached_and_reasoning_tokens(
        self, gateway: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        used = usage(
            1000,
            50,
            prompt_tokens_details={"cached_tokens": 400},
            completion_tokens_details={"reasoning_tokens": 20},
        )
        upstream.answers(FT, answer(used))
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            reply = await client.chat()

        record = await the_record(store, key)
        assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (1000, 400, 50)
        assert record.reasoning_tokens == 20
        assert record.cost_nanousd == 600 * FT_INPUT + 400 * 200 + 50 * FT_OUTPUT
        assert reply.headers["x-tunegate-cost-usd"] == "0.00072"

    async def test_the_service_tier_that_the_upstream_reports(
        self, start_gateway: StartGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        tiers = {"priority": {"input": 10, "output": 20}}
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url}},
            {"support": {"model": "m"}},
            prices={"m": {"input": 1, "output": 2, "service_tiers": tiers}},
        )
        costs = {}
        for tier in ("default", "priority", "flex"):
            upstream.answers("m", answer(usage(7, 2), service_tier=tier))
            key = await gateway.new_key(name=tier)
            async with client_of(gateway.url, key) as client:
                await client.chat()
            record = await the_record(store, key)
            costs[record.service_tier] = record.cost_nanousd

        assert costs == {"default": 11_000, "priority": 110_000, "flex": None}


class TestUnknownPrices:
    @pytest.fixture
    async def partly(self, start_gateway: StartGateway, upstream: FakeUpstream) -> RunningGateway:
        """`support` is a model that nobody has a price of; its fallback has one. `unknown` has none."""
        return await start_gateway(
            {"a": {"base_url": upstream.url}},
            {
                "support": {"model": "mystery-1", "fallbacks": [BASE]},
                "unknown": {"model": "mystery-1", "fallbacks": ["mystery-2"]},
            },
        )

    async def test_a_key_that_pays_goes_to_the_targets_with_a_price(
        self, partly: RunningGateway, upstream: FakeUpstream, store: Store
    ) -> None:
        key = await partly.new_key(budget=budget(NANO))
        async with client_of(partly.url, key) as client:
            reply = await client.chat()

        assert reply.status_code == 200
        assert reply.headers["x-tunegate-model"] == BASE
        assert reply.headers["x-tunegate-fallback"] == "price_unknown"
        assert upstream.calls_of("mystery-1") == []
        record = await the_record(store, key)
        assert record.fallback == "price_unknown"
        assert record.cost_nanousd == 7 * BASE_INPUT + 2 * BASE_OUTPUT

    @pytest.mark.parametrize(
        "money", [{"budget": budget(NANO)}, {"has_credit": True}], ids=["budget", "credit"]
    )
    async def test_where_none_is_left_it_is_refused(
        self, partly: RunningGateway, upstream: FakeUpstream, store: Store, money: dict[str, Any]
    ) -> None:
        key = await partly.new_key(**money)
        async with client_of(partly.url, key) as client:
            reply = await client.chat("unknown")

        assert reply.status_code == 503
        error = reply.json()["error"]
        assert (error["type"], error["code"]) == ("server_error", "price_unknown")
        assert int(reply.headers["retry-after"]) >= 1
        assert upstream.calls == []
        assert await entries(store, key) == []

    async def test_other_keys_are_served_and_the_cost_is_unknown_never_nothing(
        self, partly: RunningGateway, store: Store
    ) -> None:
        key = await partly.new_key()
        async with client_of(partly.url, key) as client:
            reply = await client.chat("unknown")

        assert reply.status_code == 200
        assert reply.headers["x-tunegate-model"] == "mystery-1"
        assert "x-tunegate-cost-usd" not in reply.headers
        record = await the_record(store, key)
        assert record.cost_nanousd is None
        assert record.counters().unpriced_requests == 1

    async def test_a_tier_without_a_price_is_no_way_around_a_budget(
        self, partly: RunningGateway, upstream: FakeUpstream
    ) -> None:
        key = await partly.new_key(budget=budget(NANO))
        async with client_of(partly.url, key) as client:
            reply = await client.chat("support", service_tier="no-such-tier")

        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "price_unknown"
        assert upstream.calls == []
