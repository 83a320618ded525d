"""More calls than there are places: some wait, the rest is refused at once, and nothing is refused twice."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.integration.dataplane.conftest import StartGateway
from tests.support.client import Client, chat_bytes, client_of, error_of, raw
from tests.support.fake_upstream import FakeUpstream, done, finish, role, text, until
from tests.support.gateway import RunningGateway
from tests.support.polling import until as eventually

ANSWER = (role(), text("Hello"))
REST = (finish(), done())
NARROW = {"max_in_flight": 1, "max_queue": 1}


async def start(start_gateway: StartGateway, upstream: FakeUpstream, **server: Any) -> RunningGateway:
    upstreams = {"a": {"base_url": upstream.url, "models": ["m", "n"]}}
    return await start_gateway(upstreams, {"support": {"model": "m"}}, server=NARROW | server)


@asynccontextmanager
async def one_in_progress(
    gateway: RunningGateway, upstream: FakeUpstream
) -> AsyncIterator[tuple[Client, asyncio.Event]]:
    """A stream that holds the only place until the event is set."""
    over = asyncio.Event()
    upstream.plays("m", *ANSWER, until(over), *REST)
    key = await gateway.new_key(may_pin=True)
    async with client_of(gateway.url, key) as client, client.stream() as response:
        assert response.status_code == 200
        yield client, over
        over.set()
        assert (await response.aread()).endswith(done())


def assert_overloaded(answer: httpx2.Response) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (503, "server_error", "gateway_overloaded")
    assert int(answer.headers["retry-after"]) in {1, 2, 3}
    assert 1000 <= int(answer.headers["retry-after-ms"]) <= 3000


def waiting(gateway: RunningGateway) -> int:
    return gateway.worker.service._gate.waiting


async def test_one_waits_for_the_place_the_next_is_refused_at_once(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start(start_gateway, upstream)
    async with one_in_progress(gateway, upstream) as (client, over):
        second = asyncio.create_task(client.chat())
        await eventually(lambda: waiting(gateway) == 1)
        await client.get("/v1/models")  # so that a connection is open
        quickest = 1.0
        for _ in range(5):
            began = time.perf_counter()
            assert_overloaded(await client.chat())
            quickest = min(quickest, time.perf_counter() - began)

        assert not second.done()
        assert len(upstream.calls) == 1
        over.set()
        assert (await second).status_code == 200

    assert quickest < 0.01
    refused = [line for line in await gateway.access_lines(8) if line["status"] == 503]
    assert [line["error_type"] for line in refused] == ["gateway_overloaded"] * 5
    assert refused_calls(gateway) == 5


def refused_calls(gateway: RunningGateway) -> float:
    rows = gateway.worker.counters.totals()["counters"]["tunegate_requests_total"]
    return sum(count for labels, count in rows if labels[-1] == "gateway_overloaded")


async def test_who_waits_too_long_is_refused(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = await start(start_gateway, upstream, queue_timeout_s=0.05)
    async with one_in_progress(gateway, upstream) as (client, _):
        answer = await client.chat()

        assert_overloaded(answer)
        assert "0.05 seconds" in answer.json()["error"]["message"]
        assert waiting(gateway) == 0


async def test_a_client_that_leaves_the_queue_frees_its_place(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start(start_gateway, upstream)
    async with one_in_progress(gateway, upstream) as (client, over):
        for _ in range(3):
            key = client.headers["authorization"].removeprefix("Bearer ")
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(chat_bytes(key))
            await eventually(lambda: waiting(gateway) == 1)
            writer.close()
            await eventually(lambda: waiting(gateway) == 0)
        third = asyncio.create_task(client.chat())
        await eventually(lambda: waiting(gateway) == 1)
        over.set()
        assert (await third).status_code == 200

    assert len(upstream.calls) == 2


async def test_other_refusals_come_first_and_limits_after(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start(start_gateway, upstream, max_queue=0)
    closed = await gateway.new_key(limits={"rpm": 0, "tpm": None, "concurrency": None})
    async with one_in_progress(gateway, upstream) as (client, _):
        assert (await client.chat("unknown")).status_code == 404
        assert (await client.chat(headers={"x-tunegate-upstream": "nobody"})).status_code == 403
        assert (await client.get("/v1/models")).status_code == 200
        assert (await client.get("/v1/key")).status_code == 200
        async with client_of(gateway.url, None) as stranger, client_of(gateway.url, closed) as limited:
            assert (await stranger.chat()).status_code == 401
            assert_overloaded(await limited.chat())
        gateway.worker.service.is_refusing = True
        assert (await client.chat()).json()["error"]["code"] == "gateway_draining"


async def test_a_failed_call_gives_its_place_back(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start(start_gateway, upstream, max_queue=0)
    async with client_of(gateway.url, await gateway.new_key()) as client:
        for status in (400, 500, 400, 500):
            upstream.refuses("n", status)
            await client.chat("n")
        assert (await client.chat("m")).status_code == 200


async def test_connections_past_the_bound_are_told_and_closed_but_asked_for_health(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start(start_gateway, upstream, max_connections=2)
    key = await gateway.new_key()
    idle = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(2)]
    await eventually(lambda: len(gateway.server.server_state.connections) == 2)

    refused = await raw(gateway.port, chat_bytes(key))
    stranger = await raw(gateway.port, chat_bytes("tg-x"))
    healthy = await raw(gateway.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close\r\n" in refused
    assert b"\r\nretry-after: 1\r\n" in refused
    assert error_of(refused)["code"] == "gateway_overloaded"
    assert stranger.startswith(b"HTTP/1.1 401 ")
    assert healthy.startswith(b"HTTP/1.1 200 ")
    assert upstream.calls == []
    for _, writer in idle:
        writer.close()
    await eventually(lambda: not gateway.server.server_state.connections)
    async with client_of(gateway.url, key) as client:
        assert (await client.chat()).status_code == 200
