"""Clients that keep a connection without using it well: each is cut in time, and costs little until then."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.domain.errors import BadKey
from tests.integration.dataplane.conftest import StartGateway
from tests.support.client import chat_bytes, raw
from tests.support.fake_upstream import FakeUpstream, done, finish, role, stall, text, until
from tests.support.gateway import RunningGateway
from tests.support.polling import until as eventually

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = text("word " * 12_000)


async def start(start_gateway: StartGateway, upstream: FakeUpstream, **server: Any) -> RunningGateway:
    return await start_gateway(
        {"a": {"base_url": upstream.url, "models": ["m"]}}, {"support": {"model": "m"}}, server=server
    )


@asynccontextmanager
async def connected(
    gateway: RunningGateway, receive_buffer: int | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection; with a small buffer the client soon stops reading."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", gateway.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await eventually(lambda: gateway.worker.application.in_flight == 0)


def only_connection(gateway: RunningGateway) -> Any:
    [connection] = gateway.server.server_state.connections
    return connection


async def nobody_is_connected(gateway: RunningGateway) -> None:
    await eventually(lambda: not gateway.server.server_state.connections)


@pytest.mark.parametrize(
    "junk", [b"\r\n", b"\r\n\r\n\r\n", b"GET /he"], ids=["a line end", "line ends", "half a head"]
)
async def test_what_is_no_request_does_not_keep_a_connection_open(
    start_gateway: StartGateway, upstream: FakeUpstream, junk: bytes
) -> None:
    gateway = await start(start_gateway, upstream, header_timeout_s=0.1)
    async with connected(gateway) as (reader, writer):
        writer.write(HEALTH)
        await reader.readuntil(b"}")
        writer.write(junk)
        rest = await asyncio.wait_for(reader.read(), 5)

    assert rest.startswith(b"HTTP/1.1 408 ") == junk.startswith(b"GET")


async def test_a_head_after_a_body_with_trailers_has_its_own_time(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start(start_gateway, upstream, header_timeout_s=0.1)
    head, _, body = chat_bytes(await gateway.new_key()).partition(b"\r\n\r\n")
    chunked = head[: head.index(b"Content-Length")] + b"Transfer-Encoding: chunked\r\n\r\n"
    over = asyncio.Event()
    upstream.plays("m", b'{"choices": [],', until(over), b'"id": "x"}', content_type="application/json")
    async with connected(gateway) as (reader, writer):
        writer.write(chunked + b"%x\r\n%b\r\n0\r\nX-Check: 1\r\n\r\n" % (len(body), body))
        await eventually(lambda: bool(upstream.calls))
        await asyncio.sleep(0.15)  # longer than a head may take
        over.set()
        answer = await reader.readuntil(b"}")
        assert answer.startswith(b"HTTP/1.1 200 ")
        writer.write(HEALTH)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")


async def test_a_slow_answer_does_not_cost_the_requests_behind_it(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    """The third head is not read before the first answer is out, so its time does not run."""
    gateway = await start(start_gateway, upstream, header_timeout_s=0.1)
    over = asyncio.Event()
    upstream.plays("m", role(), text("Hel"), until(over), finish(), done())
    async with connected(gateway) as (reader, writer):
        writer.write(chat_bytes(await gateway.new_key(), stream=True) + HEALTH + HEALTH[:10])
        await eventually(lambda: bool(upstream.calls))
        writer.write(HEALTH[10:])
        await asyncio.sleep(0.15)  # longer than a head may take
        over.set()
        answers = b""
        while answers.count(b"HTTP/1.1 200 OK") < 3:
            answers += await asyncio.wait_for(reader.read(65536), 5)


async def test_a_broken_request_ends_the_connection_behind_those_before_it(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start(start_gateway, upstream)
    over = asyncio.Event()
    upstream.plays("m", role(), text("Hel"), until(over), finish(), done())
    async with connected(gateway) as (reader, writer):
        writer.write(chat_bytes(await gateway.new_key(), stream=True) + HEALTH + b"nonsense\r\n\r\n")
        await eventually(lambda: bool(upstream.calls))
        over.set()
        answers = await asyncio.wait_for(reader.read(), 5)

    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.endswith(b'{"status":"ok"}')


async def test_a_stopped_reader_that_has_asked_for_more_pauses_its_upstream_too(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start(start_gateway, upstream)
    upstream.plays("m", role(), *[BIG] * 400, finish(), done())
    async with connected(gateway, 4096) as (reader, writer):
        writer.write(chat_bytes(await gateway.new_key(), stream=True) + HEALTH)
        await reader.readexactly(100)
        connection = only_connection(gateway)
        await eventually(lambda: connection.flow.write_paused)
        held = connection.transport.get_write_buffer_size()
        await asyncio.sleep(0.05)  # an upstream that is not paused sends all of its 24 MB by then

        assert connection.transport.get_write_buffer_size() == held < 1_000_000

    [line] = await gateway.access_lines(1)
    assert line["error_type"] == "client_left"
    assert upstream.calls[0].closed.is_set()


async def test_a_reply_that_nobody_reads_is_given_up(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    """Less than what makes a connection pause, and the connection is closing: nothing else would end it."""
    gateway = await start(start_gateway, upstream, write_stall_s=0.2)
    upstream.answers("m", {"choices": [{"message": {"content": "x" * 60_000}}], "id": "x"})
    request = chat_bytes(await gateway.new_key()).replace(b"Host: x", b"Host: x\r\nConnection: close")
    async with connected(gateway, 2048) as (_, writer):
        await eventually(lambda: bool(gateway.server.server_state.connections))
        transport = only_connection(gateway).transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer.write(request)
        await eventually(transport.is_closing)
        assert transport.get_write_buffer_size() > 0

        await nobody_is_connected(gateway)


async def test_a_body_is_not_taken_before_its_caller_is_known(
    start_gateway: StartGateway, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start(start_gateway, upstream)
    known = asyncio.Event()

    async def look_up(*_: object) -> None:
        await known.wait()
        raise BadKey("No.")

    monkeypatch.setattr(gateway.worker.application._keyring, "authenticate", look_up)
    size = 5_000_000
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    async with connected(gateway) as (reader, writer):
        writer.write(head + b"x" * size)
        await eventually(lambda: gateway.worker.application.in_flight == 1)
        connection = only_connection(gateway)
        await eventually(lambda: connection.flow.read_paused)
        assert len(connection.cycle.body) < 500_000
        known.set()
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 401 ")


async def test_a_client_that_leaves_before_its_call_begins_is_not_served(
    start_gateway: StartGateway, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start(start_gateway, upstream)
    key = await gateway.new_key()
    keyring = gateway.worker.application._keyring
    authenticate, known = keyring.authenticate, asyncio.Event()

    async def look_up(*presented: Any) -> Any:
        await known.wait()
        return await authenticate(*presented)

    monkeypatch.setattr(keyring, "authenticate", look_up)
    async with connected(gateway) as (_, writer):
        writer.write(chat_bytes(key))
        await eventually(lambda: gateway.worker.application.in_flight == 1)
        writer.transport.abort()
        await nobody_is_connected(gateway)
        known.set()

    [line] = await gateway.access_lines(1)
    assert (line["status"], line["error_type"], line.get("attempts", 0)) == (499, "client_left", 0)
    assert not upstream.calls


async def test_a_body_is_read_on_once_its_caller_is_known(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start(start_gateway, upstream)
    request = chat_bytes(await gateway.new_key(), user="x" * 3_000_000)

    answer = await raw(gateway.port, request.replace(b"Host: x", b"Host: x\r\nConnection: close"))

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(upstream.calls[0].body) > 3_000_000


async def test_a_stopped_reader_of_a_stream_is_cut_and_its_upstream_with_it(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start(start_gateway, upstream, write_stall_s=0.2)
    upstream.plays("m", role(), *[BIG] * 400, stall())
    async with connected(gateway, 4096) as (_, writer):
        writer.write(chat_bytes(await gateway.new_key(), stream=True))
        await eventually(lambda: bool(upstream.calls))
        await asyncio.wait_for(upstream.calls[0].closed.wait(), 5)
        await nobody_is_connected(gateway)

    [line] = await gateway.access_lines(1)
    assert line["error_type"] == "client_left"
