"""While the store is away: what the policy lets pass, who is still known, and what is said about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from gateway.auth.record import KeyBudget
from gateway.store.client import Store
from gateway.telemetry.metrics import JOURNAL_PENDING, STORE_ERRORS
from tests.support.client import Client, client_of
from tests.support.fake_upstream import FakeUpstream
from tests.support.gateway import RunningGateway, config_text, running_gateway
from tests.support.ledger import NOTHING_HELD, counted, entries, held, records
from tests.support.onlooker import Onlooker
from tests.support.polling import until
from tests.support.valkey import ValkeyServer

StartOwn = Callable[..., Awaitable[RunningGateway]]
MODEL = "gpt-4.1-mini"


@pytest.fixture
def own() -> Iterator[ValkeyServer]:
    """A store of this test's own, which keeps its data when it is killed."""
    with ValkeyServer("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server
        server.resume()


@pytest.fixture
async def own_store(own: ValkeyServer) -> AsyncIterator[Store]:
    """The test's own client of it."""
    store = Onlooker(own, timeout_s=5)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
async def start(
    own: ValkeyServer, own_store: Store, upstream: FakeUpstream, tmp_path: Path
) -> AsyncIterator[StartOwn]:
    """Starts a worker on that store, with the given blocks of `on_store_failure` and `store`."""
    async with AsyncExitStack() as stack:

        async def started(policy: dict[str, str] | None = None, **store: Any) -> RunningGateway:
            text = config_text(
                own.url,
                {"a": {"base_url": upstream.url}},
                {"support": {"model": MODEL}},
                store={"url": own.url, "timeout_ms": 100} | store,
                on_store_failure=policy or {},
            )
            return await stack.enter_async_context(running_gateway(text, own_store, tmp_path))

        yield started


def unavailable(reply: httpx2.Response) -> str:
    """The message of a refusal for want of the store."""
    assert reply.status_code == 503
    error = reply.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "store_unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    message: str = error["message"]
    return message


async def known(client: Client) -> None:
    """Let the worker see a key, so that it knows it."""
    assert (await client.chat()).status_code == 200


class TestLimits:
    async def test_local_gives_each_worker_its_share(
        self, start: StartOwn, own: ValkeyServer, own_store: Store
    ) -> None:
        await start()
        gateway = await start()
        await until(lambda: gateway.worker._meter.live_processes == 2, "the sight of both workers")
        key = await gateway.new_key(limits={"rpm": 6})
        async with client_of(gateway.url, key) as client:
            await known(client)
            own.kill()
            replies = [await client.chat() for _ in range(4)]
            own.start()

        assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
        # The share of this worker; what the store had counted is not known here.
        assert [reply.headers["x-ratelimit-limit-requests"] for reply in replies] == ["3"] * 4
        assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["2", "1", "0", "0"]
        error = replies[-1].json()["error"]
        assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
        # What was served without the store is in its ledger afterwards.
        assert len(await records(own_store, key, 4, within_s=10)) == 4
        assert await held(own_store, key) == NOTHING_HELD

    async def test_a_share_is_never_less_than_one_but_for_none(
        self, start: StartOwn, own: ValkeyServer
    ) -> None:
        await start()
        gateway = await start()
        await until(lambda: gateway.worker._meter.live_processes == 2, "the sight of both workers")
        one, none = await gateway.new_key(limits={"rpm": 1}), await gateway.new_key(limits={"rpm": 0})
        async with client_of(gateway.url, one) as client, client_of(gateway.url, none) as refused:
            await known(client)
            assert (await refused.chat()).status_code == 429
            own.kill()
            assert [(await client.chat()).status_code for _ in range(2)] == [200, 429]
            assert (await refused.chat()).status_code == 429

    async def test_open_lets_everything_pass(
        self, start: StartOwn, own: ValkeyServer, own_store: Store
    ) -> None:
        gateway = await start({"limits": "open"})
        key = await gateway.new_key(limits={"rpm": 1})
        async with client_of(gateway.url, key) as client:
            await known(client)
            own.kill()
            replies = [await client.chat() for _ in range(3)]
            own.start()

        assert [reply.status_code for reply in replies] == [200] * 3
        assert not any("x-ratelimit-limit-requests" in reply.headers for reply in replies)
        assert len(await records(own_store, key, 4, within_s=10)) == 4

    async def test_closed_refuses(self, start: StartOwn, own: ValkeyServer, own_store: Store) -> None:
        gateway = await start({"limits": "closed"})
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            await known(client)
            own.kill()
            assert "the limits of this key cannot be checked" in unavailable(await client.chat())
            own.start()
            await until(lambda: gateway.worker._store.state == "up", "the store")
            await known(client)
        assert len(await records(own_store, key, 2)) == 2


class TestBudgets:
    async def test_closed_refuses_only_keys_that_pay(
        self, start: StartOwn, own: ValkeyServer, own_store: Store
    ) -> None:
        gateway = await start()
        paying = await gateway.new_key(budget=KeyBudget(10**9, "day"))
        plain = await gateway.new_key()
        async with client_of(gateway.url, paying) as client, client_of(gateway.url, plain) as other:
            await known(client)
            await known(other)
            own.kill()
            assert "budget or credit of this key" in unavailable(await client.chat())
            assert (await other.chat()).status_code == 200
            own.start()
        assert len(await records(own_store, plain, 2, within_s=10)) == 2
        assert len(await entries(own_store, paying)) == 1

    async def test_open_lets_them_pass_and_charges_them_later(
        self, start: StartOwn, own: ValkeyServer, own_store: Store
    ) -> None:
        gateway = await start({"budgets": "open"})
        key = await gateway.new_key(budget=KeyBudget(10**9, "total"))
        async with client_of(gateway.url, key) as client:
            await known(client)
            own.kill()
            assert (await client.chat()).headers["x-tunegate-cost-usd"] == "0.000006"
            own.start()
            await records(own_store, key, 2, within_s=10)
            status = (await client.get("/v1/key")).json()["budget"]

        assert (status["used_usd"], status["reserved_usd"]) == ("0.000012", "0")

    async def test_a_refusal_gives_back_what_may_have_been_taken(
        self, start: StartOwn, own: ValkeyServer, own_store: Store
    ) -> None:
        """The store took the admission and could not say so in time."""
        gateway = await start(settle_timeout_ms=100)
        key = await gateway.new_key(budget=KeyBudget(10**9, "total"))
        async with client_of(gateway.url, key) as client:
            await known(client)
            own.pause()
            unavailable(await client.chat())
            own.resume()
            await until(lambda: counted(gateway, JOURNAL_PENDING).get((), 0) == 0, "an empty journal")
            deadline = time.monotonic() + 5
            while await held(own_store, key) != NOTHING_HELD:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.005)
        assert len(await entries(own_store, key)) == 1


class TestKeys:
    async def test_known_ones_serve_for_five_minutes(
        self, start: StartOwn, own: ValkeyServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gateway = await start()
        seen, unseen = await gateway.new_key(), await gateway.new_key()
        async with client_of(gateway.url, seen) as client, client_of(gateway.url, unseen) as stranger:
            await known(client)
            own.kill()
            unavailable(await stranger.chat())
            for later_s, status in ((4, 200), (295, 200), (301, 503)):
                keyring = gateway.worker._keyring
                monkeypatch.setattr(keyring, "_clock", lambda s=later_s: time.monotonic() + s)
                assert (await client.chat()).status_code == status


class TestWhatIsSaid:
    async def test_one_line_for_each_change(self, start: StartOwn, own: ValkeyServer) -> None:
        with capture_logs() as lines:
            gateway = await start()
            key = await gateway.new_key()
            async with client_of(gateway.url, key) as client:
                await known(client)
                own.kill()
                for _ in range(12):
                    assert (await client.chat()).status_code == 200
                assert (await client.get("/readyz")).json()["status"] == "degraded"
                own.start()
                await until(lambda: gateway.worker._store.state == "up", "the store")
                await until(lambda: counted(gateway, JOURNAL_PENDING)[()] == 0, "an empty journal")
                await known(client)

        said = [line["event"] for line in lines if str(line["event"]).startswith("the store is")]
        assert said == ["the store is away", "the store is back"]
        errors = counted(gateway, STORE_ERRORS)
        assert errors["connection",] == 1
        assert errors["settle",] >= 12

    async def test_a_store_that_does_not_answer_costs_its_timeout_five_times(
        self, start: StartOwn, own: ValkeyServer
    ) -> None:
        gateway = await start(timeout_ms=100, settle_timeout_ms=100)
        key = await gateway.new_key()
        async with client_of(gateway.url, key) as client:
            await known(client)
            own.pause()
            took = []
            for _ in range(8):
                began = time.monotonic()
                assert (await client.chat()).status_code == 200
                took.append(time.monotonic() - began)

        # An admission and a settlement that wait for their time; once it is known to be away, none does.
        assert took[0] >= 0.2
        assert max(took) < 0.2 + 1.0
        assert max(took[-3:]) < 0.1
