"""The response cache, from socket to socket: what is kept, who gets it, what it costs, and when it fails."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.auth.record import KeyBudget
from gateway.link import State
from gateway.store.cache_repository import CacheRepository
from gateway.store.client import Store
from gateway.telemetry.metrics import CACHE
from tests.integration.dataplane.conftest import BASE, FT, StartGateway
from tests.support.client import Client, client_of
from tests.support.fake_upstream import FakeUpstream, done, finish, role, text, until, usage
from tests.support.gateway import RunningGateway
from tests.support.ledger import NOTHING_HELD, held, records
from tests.support.ledger import counted as of_metric
from tests.support.valkey import ValkeyServer

ZERO: Any = {"temperature": 0}
CACHED = {"cache": {"enabled": True}}
FT_INPUT, FT_OUTPUT = 800, 3200  # nano-dollars a token
COST = 7 * FT_INPUT + 2 * FT_OUTPUT


def blocks(upstream: FakeUpstream, **alias: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The blocks of a gateway whose alias `support` keeps its answers."""
    upstreams = {"openai": {"base_url": upstream.url, "api_keys": ["k"], "owns": ["acme"], "models": None}}
    return upstreams, {"support": {"model": FT, "cache": {"enabled": True}} | alias}


@pytest.fixture
async def gateway(start_gateway: StartGateway, upstream: FakeUpstream) -> RunningGateway:
    return await start_gateway(*blocks(upstream))


@pytest.fixture
async def key(gateway: RunningGateway) -> str:
    return await gateway.new_key(limits={"rpm": None, "tpm": None, "concurrency": None})


@pytest.fixture
async def client(gateway: RunningGateway, key: str) -> AsyncIterator[Client]:
    async with client_of(gateway.url, key) as client:
        yield client


def word(reply: httpx2.Response) -> str | None:
    found = reply.headers.get("x-tunegate-cache")
    return None if found is None else str(found)


def counted(gateway: RunningGateway) -> dict[str, int]:
    """What `tunegate_cache_total` says."""
    return {labels[0]: int(count) for labels, count in of_metric(gateway, CACHE).items()}


class TestHit:
    async def test_json(self, client: Client, key: str, store: Store, upstream: FakeUpstream) -> None:
        first = await client.chat(**ZERO)
        second = await client.chat(**ZERO)

        assert (word(first), word(second)) == ("miss", "hit")
        assert second.content == first.content
        assert len(upstream.calls_of(FT)) == 1
        assert "age" not in first.headers
        assert second.headers["age"] == "0"
        assert second.headers["x-tunegate-cost-usd"] == "0"
        assert second.headers["x-tunegate-model"] == FT
        assert second.headers["x-tunegate-upstream"] == "openai"
        assert "x-tunegate-attempts" not in second.headers
        paid, free = await records(store, key, 2)
        assert (paid.cache, paid.cost_nanousd, paid.saved_nanousd) == ("miss", COST, 0)
        assert (free.cache, free.cost_nanousd, free.saved_nanousd) == ("hit", 0, COST)
        assert (free.state, free.usage_source, free.attempts) == ("exact", "none", ())
        assert (free.prompt_tokens, free.completion_tokens) == (0, 0)
        assert (free.model, free.upstream) == (FT, "openai")
        assert free.request_id == second.headers["x-request-id"]
        assert await held(store, key) == NOTHING_HELD

    async def test_streams_and_the_other_form(self, client: Client, upstream: FakeUpstream) -> None:
        first = await client.chat(stream=True, **ZERO)
        again = await client.chat(stream=True, **ZERO)
        with_usage = await client.chat(stream=True, stream_options={"include_usage": True}, **ZERO)
        as_json = await client.chat(**ZERO)

        assert [word(reply) for reply in (first, again, with_usage, as_json)] == ["miss", "hit", "hit", "hit"]
        assert first.content == again.content
        assert first.content.endswith(done())
        assert with_usage.content == first.content.removesuffix(done()) + usage() + done()
        assert as_json.json()["choices"][0]["message"]["content"] == "Hello"
        assert as_json.json()["usage"]["total_tokens"] == 9
        assert len(upstream.calls_of(FT)) == 1

    async def test_embeddings(self, client: Client) -> None:
        replies = [
            await client.post("/v1/embeddings", {"model": "support", "input": "hi", "user": user})
            for user in ("a", "b")
        ]

        assert [word(reply) for reply in replies] == ["miss", "hit"]
        assert replies[0].content == replies[1].content

    async def test_spelled_otherwise(self, client: Client) -> None:
        bodies = [
            b'{"model":"support","temperature":0,"messages":[{"role":"user","content":"\xc3\xa9"}]}',
            b'{ "messages" : [{"content":"\\u00e9","role":"user"}], "temperature":0.0e1,"model":"support" }',
            b'{"model":"support","temperature":0,"messages":[{"role":"user","content":"e\xcc\x81"}]}',
        ]
        replies = [await client.post("/v1/chat/completions", body) for body in bodies]

        assert [word(reply) for reply in replies] == ["miss", "hit", "miss"]

    async def test_is_counted(self, client: Client, gateway: RunningGateway) -> None:
        for temperature in (0, 0, 1):
            await client.chat(temperature=temperature)
        (line,) = [line for line in await gateway.access_lines(3) if line["cache"] == "hit"]

        assert counted(gateway) == {"miss": 1, "hit": 1, "bypass": 1}
        assert line["outcome"] == "served"

    async def test_off_says_nothing(self, start_gateway: StartGateway, upstream: FakeUpstream) -> None:
        upstreams, _ = blocks(upstream)
        gateway = await start_gateway(upstreams, {"support": {"model": FT}})
        async with client_of(gateway.url, await gateway.new_key()) as client:
            replies = [await client.chat(**ZERO) for _ in range(2)]
            only = await client.chat(headers={"x-tunegate-cache": "only"}, **ZERO)

        assert [word(reply) for reply in replies] == [None, None]
        assert (only.status_code, only.json()["error"]["code"]) == (404, "cache_miss")
        assert len(upstream.calls_of(FT)) == 2
        assert counted(gateway) == {"miss": 1}


class TestLimits:
    async def test_a_hit_is_a_request(self, gateway: RunningGateway) -> None:
        async with client_of(gateway.url, await gateway.new_key(limits={"rpm": 2})) as client:
            replies = [await client.chat(**ZERO) for _ in range(3)]
            only = await client.chat(headers={"x-tunegate-cache": "only"}, **ZERO)

        assert [reply.status_code for reply in (*replies, only)] == [200, 200, 429, 429]
        assert replies[1].headers["x-ratelimit-remaining-requests"] == "0"

    async def test_takes_no_tokens(self, gateway: RunningGateway) -> None:
        async with client_of(gateway.url, await gateway.new_key(limits={"tpm": 600})) as client:
            replies = [await client.chat(**ZERO) for _ in range(4)]

        assert [word(reply) for reply in replies] == ["miss", "hit", "hit", "hit"]

    async def test_takes_no_money_but_a_spent_budget_is_spent(self, gateway: RunningGateway) -> None:
        budget = KeyBudget(nanousd=10_000_000_000, period="total")
        key = await gateway.new_key(budget=budget)
        async with client_of(gateway.url, key) as client:
            assert word(await client.chat(**ZERO)) == "miss"
            assert word(await client.chat(**ZERO)) == "hit"
        broke = await gateway.new_key(budget=KeyBudget(nanousd=0, period="total"))
        async with client_of(gateway.url, broke) as client:
            refused = await client.chat(headers={"x-tunegate-cache": "only"}, **ZERO)

        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "insufficient_quota"

    async def test_wishes_that_mean_nothing(self, client: Client) -> None:
        for headers in (
            {"x-tunegate-cache": "yes"},
            {"x-tunegate-cache-ttl": "0"},
            {"x-tunegate-cache-ttl": "1.5"},
        ):
            reply = await client.chat(headers=headers, **ZERO)
            assert reply.status_code == 400
            assert reply.json()["error"]["param"] == next(iter(headers))

    async def test_wishes(self, client: Client, upstream: FakeUpstream) -> None:
        async def asks(directive: str) -> str | None:
            return word(await client.chat(headers={"x-tunegate-cache": directive}, **ZERO))

        assert [await asks(each) for each in ("only", "no-store", "only", "no-cache", "only")] == [
            "miss", "bypass", "miss", "miss", "hit"
        ]  # fmt: skip
        assert len(upstream.calls_of(FT)) == 2


class TestIsolation:
    async def test_keys_share_nothing_and_teams_what_they_want_to(self, gateway: RunningGateway) -> None:
        async def asks(**key: Any) -> str | None:
            async with client_of(gateway.url, await gateway.new_key(**key)) as client:
                return word(await client.chat(**ZERO))

        assert [await asks(), await asks()] == ["miss", "miss"]
        red = {"team": "red", "cache_scope": "team"}
        assert [await asks(**red), await asks(**red), await asks(team="red")] == ["miss", "hit", "miss"]
        assert await asks(team="blue", cache_scope="team") == "miss"

    @pytest.mark.parametrize(
        "change",
        [
            {"model": BASE},
            {"defaults": {"top_p": 0.5}},
            {"rewrite": "kind"},
            {},
        ],
        ids=["another model", "a default", "a rewrite", "a revision"],
    )
    async def test_a_changed_alias_never_gives_the_old_answer(
        self, start_gateway: StartGateway, upstream: FakeUpstream, change: dict[str, Any]
    ) -> None:
        upstreams, aliases = blocks(upstream)
        rewrites = {"kind": {"system_prompt": "Be kind."}}
        gateway = await start_gateway(upstreams, aliases, rewrites=rewrites)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            before = [word(await client.chat(**ZERO)) for _ in range(2)]
            block = aliases["support"] | change
            gateway.worker.swap(State(1, None, {"support": {"block": block, "revision": 2}}, {}))
            after = [word(await client.chat(**ZERO)) for _ in range(2)]

        assert before == after == ["miss", "hit"]
        assert len(upstream.calls) == 2

    async def test_a_purge(self, client: Client, store: Store) -> None:
        before = [word(await client.chat(**ZERO)) for _ in range(2)]
        await CacheRepository(store, is_shared=True).purge(aliases=["support"])

        assert before == [word(await client.chat(**ZERO)) for _ in range(2)] == ["miss", "hit"]

    async def test_a_corrupt_entry_is_dropped_counted_and_made_anew(
        self, client: Client, valkey: ValkeyServer, gateway: RunningGateway
    ) -> None:
        first = await client.chat(**ZERO)
        (entry,) = valkey.run("KEYS", "cache:*:entry")
        valkey.run("SETRANGE", entry, 40, b"\x00\x00")
        second = await client.chat(**ZERO)
        third = await client.chat(**ZERO)

        assert [word(reply) for reply in (first, second, third)] == ["miss", "miss", "hit"]
        assert first.content == second.content == third.content
        assert counted(gateway) == {"miss": 2, "corrupt": 1, "hit": 1}


class TestKept:
    async def test_no_fallbacks_answer(self, start_gateway: StartGateway, upstream: FakeUpstream) -> None:
        gateway = await start_gateway(*blocks(upstream, fallbacks=["base"]))
        upstream.refuses(FT, 404, "model_not_found", times=1)
        async with client_of(gateway.url, await gateway.new_key()) as client:
            first = await client.chat(**ZERO)
            second = await client.chat(**ZERO)

        assert first.headers["x-tunegate-model"] == BASE
        assert (word(first), word(second)) == ("miss", "miss")

    async def test_nothing_cut_or_filtered(self, client: Client, upstream: FakeUpstream) -> None:
        for reason in ("length", "content_filter"):
            upstream.plays(FT, role(), text("x"), finish(reason), done())
            assert word(await client.chat(stream=True, **ZERO)) == "miss"
        upstream.plays(FT, role(), text("x"))
        assert b"stream_truncated" in (await client.chat(stream=True, **ZERO)).content

        assert word(await client.chat(stream=True, **ZERO)) == "miss"
        assert word(await client.chat(stream=True, **ZERO)) == "hit"

    async def test_variety_where_that_is_configured(
        self, start_gateway: StartGateway, upstream: FakeUpstream
    ) -> None:
        gateway = await start_gateway(*blocks(upstream, cache={"enabled": True, "nondeterministic": True}))
        async with client_of(gateway.url, await gateway.new_key()) as client:
            assert [word(await client.chat(temperature=1)) for _ in range(2)] == ["miss", "hit"]


class TestFlights:
    async def test_two_hundred_at_once_over_three_workers(
        self,
        start_gateway: StartGateway,
        upstream: FakeUpstream,
        store: Store,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        began, go = asyncio.Event(), asyncio.Event()
        upstream.plays(
            FT, until(began), role(), text("Hel"), until(go), text("lo"), finish(), usage(), done()
        )
        workers = [await start_gateway(*blocks(upstream)) for _ in range(3)]
        key = await workers[0].new_key(limits={"rpm": None, "tpm": None, "concurrency": None})
        first_at: list[tuple[str, float]] = []

        async def asks(client: Client) -> bytes:
            async with client.stream(**ZERO) as response:
                parts: list[bytes] = []
                async for part in response.aiter_raw():
                    if not parts:
                        first_at.append((response.headers["x-tunegate-cache"], time.monotonic()))
                        if len(first_at) == 200:
                            go.set()
                    parts.append(part)
                return b"".join(parts)

        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(_many(worker.url, key)) for worker in workers]
            asking = [asyncio.create_task(asks(clients[number % 3])) for number in range(200)]
            while sum(worker.worker.application.in_flight for worker in workers) < 200:
                await asyncio.sleep(0.005)
            began.set()
            bodies = await asyncio.gather(*asking)
        (leader,) = [at for word, at in first_at if word == "miss"]
        lags = sorted((at - leader) * 1000 for word, at in first_at if word == "shared")

        assert len(upstream.calls_of(FT)) == 1
        assert set(bodies) == {role() + text("Hel") + text("lo") + finish() + done()}
        assert len(lags) == 199
        with capsys.disabled():
            _say(
                f"\n199 followers' first tokens after their leader's: median {lags[99]:.0f} ms,"
                f" last {lags[-1]:.0f} ms"
            )
        found = await records(store, key, 200)
        assert sum(record.cost_nanousd or 0 for record in found) == COST
        assert sum(record.saved_nanousd for record in found) == 199 * COST
        assert await held(store, key) == NOTHING_HELD

    async def test_a_leader_that_leaves_takes_nobody_along(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream
    ) -> None:
        go = asyncio.Event()
        upstream.plays(FT, role(), text("Hel"), until(go), text("lo"), finish(), usage(), done())
        async with AsyncExitStack() as stack:
            leader = await stack.enter_async_context(client.stream(**ZERO))
            follower = await stack.enter_async_context(client.stream(**ZERO))
            await leader.aclose()
            while (await held(store, key))["calls"] != 2:
                await asyncio.sleep(0.005)
            go.set()
            body = b"".join([part async for part in follower.aiter_raw()])

        assert (word(leader), word(follower)) == ("miss", "shared")
        assert body == role() + text("Hel") + text("lo") + finish() + done()
        found = {record.cache: record for record in await records(store, key, 2)}
        assert (found["miss"].state, found["miss"].cost_nanousd) == ("exact", COST)
        assert (found["shared"].cost_nanousd, found["shared"].saved_nanousd) == (0, COST)
        assert not upstream.calls[0].closed.is_set()

    async def test_the_last_one_closes_the_upstream(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream
    ) -> None:
        upstream.plays(FT, role(), text("Hel"), until(asyncio.Event()))
        async with client.stream(**ZERO), client.stream(**ZERO):
            pass
        async with asyncio.timeout(1):
            await upstream.calls[0].closed.wait()

        found = {record.cache: record for record in await records(store, key, 2)}
        assert (found["miss"].state, found["miss"].error_type) == ("estimated", "client_left")
        assert (found["shared"].state, found["shared"].cost_nanousd) == ("exact", 0)
        assert await held(store, key) == NOTHING_HELD

    async def test_a_client_that_reads_slowly_gets_all_of_a_long_answer(
        self, client: Client, upstream: FakeUpstream
    ) -> None:
        pieces = [text(str(number) * 131_072) for number in range(10)] * 4  # 5 MiB; 1 MiB is kept
        upstream.plays(FT, role(), *pieces, finish(), done())
        async with client.stream(**ZERO) as response:
            await asyncio.sleep(0.3)
            body = b"".join([part async for part in response.aiter_raw()])

        assert body == role() + b"".join(pieces) + finish() + done()
        assert word(await client.chat(**ZERO)) == "miss"

    async def test_an_upstreams_verdict_is_everyones(self, client: Client, upstream: FakeUpstream) -> None:
        go = asyncio.Event()
        body = json.dumps({"error": {"message": "Bad.", "type": "invalid_request_error", "code": None}})
        upstream.plays(FT, until(go), body.encode(), status=400, content_type="application/json")
        asking = [asyncio.create_task(client.chat(**ZERO)) for _ in range(5)]
        while not upstream.calls:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        go.set()
        replies = await asyncio.gather(*asking)

        assert [reply.status_code for reply in replies] == [400] * 5
        assert len(upstream.calls) == 1

    async def test_a_leader_that_fails_is_followed_by_another(
        self, client: Client, key: str, store: Store, upstream: FakeUpstream
    ) -> None:
        go = asyncio.Event()
        for _ in range(3):  # as often as one call tries
            upstream.plays(FT, until(go), b"{}", status=500, content_type="application/json")
        asking = [asyncio.create_task(client.chat(**ZERO)) for _ in range(5)]
        while not upstream.calls:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        go.set()
        replies = await asyncio.gather(*asking)

        assert sorted(reply.status_code for reply in replies) == [200, 200, 200, 200, 502]
        assert len(upstream.calls) == 4
        served = [reply for reply in replies if reply.status_code == 200]
        assert sorted(word(reply) or "" for reply in served) == ["miss", "shared", "shared", "shared"]
        found = await records(store, key, 5)
        assert len({record.request_id for record in found}) == 5
        assert {reply.headers["x-request-id"] for reply in replies} == {r.request_id for r in found}
        assert await held(store, key) == NOTHING_HELD


class TestAway:
    async def test_every_call_is_a_miss_and_nothing_else_changes(
        self,
        start_gateway: StartGateway,
        upstream: FakeUpstream,
        valkey: ValkeyServer,
        store: Store,
        tmp_path: Path,
    ) -> None:
        away = {"url": valkey.url, "timeout_ms": 2000, "cache_url": f"unix://{tmp_path}/nobody.sock"}
        gateway = await start_gateway(*blocks(upstream), store=away)
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            replies = [await client.chat(**ZERO), await client.chat(stream=True, **ZERO)]

        assert [reply.status_code for reply in replies] == [200, 200]
        assert [word(reply) for reply in replies] == ["miss", "miss"]
        assert len(upstream.calls_of(FT)) == 2
        assert counted(gateway) == {"miss": 2, "error": 2}
        assert [record.cost_nanousd for record in await records(store, key, 2)] == [COST, COST]

    async def test_closed_where_the_policy_says_so(
        self, start_gateway: StartGateway, upstream: FakeUpstream, valkey: ValkeyServer, tmp_path: Path
    ) -> None:
        away = {"url": valkey.url, "timeout_ms": 2000, "cache_url": f"unix://{tmp_path}/nobody.sock"}
        gateway = await start_gateway(*blocks(upstream), store=away, on_store_failure={"cache": "closed"})
        async with client_of(gateway.url, await gateway.new_key()) as client:
            reply = await client.chat(**ZERO)
            plain = await client.chat()

        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "store_unavailable")
        assert plain.status_code == 200


def _many(url: str, key: str) -> Any:
    """A client of many connections."""
    return client_of(url, key)


def _say(line: str) -> None:
    print(line)  # noqa: T201  # a figure for whoever runs it
