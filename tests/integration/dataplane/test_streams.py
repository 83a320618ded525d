"""Streams that go wrong, slowly, or without their client; over real sockets, one byte at a time too."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.dataplane.conftest import FT, StartGateway
from tests.support.client import Client, chat_bytes, client_of
from tests.support.fake_upstream import (
    FakeUpstream,
    OneByteAtATime,
    done,
    drop,
    event,
    finish,
    role,
    stall,
    text,
    until,
    usage,
)
from tests.support.gateway import RunningGateway


def last_error(content: bytes) -> dict[str, Any]:
    """The error event that a stream ended with; nothing stands behind it."""
    *_, last, nothing = content.split(b"\n\n")
    assert nothing == b""
    error: dict[str, Any] = json.loads(last.removeprefix(b"data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "server_error"
    return error


async def eventually(is_so: Callable[[], bool], within_s: float = 2.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not is_so():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.005)


class TestAfterTheCommitPoint:
    async def test_a_cut_is_one_error_event_and_no_done(
        self, client: Client, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        upstream.plays(FT, role(), text("Hel"), drop())

        reply = await client.chat(stream=True)

        assert reply.status_code == 200
        assert reply.content.startswith(role() + text("Hel") + b'data: {"error"')
        assert last_error(reply.content)["code"] == "stream_truncated"
        assert relay.calls == []

    async def test_an_end_without_finish_reason(self, client: Client, upstream: FakeUpstream) -> None:
        upstream.plays(FT, role(), text("Hel"))

        assert last_error((await client.chat(stream=True)).content)["code"] == "stream_truncated"

    async def test_an_error_of_the_upstream(
        self, client: Client, upstream: FakeUpstream, gateway: RunningGateway
    ) -> None:
        upstream.plays(
            FT, role(), text("Hel"), event({"error": {"message": "GPU lost", "code": 500}}), stall()
        )

        reply = await client.chat(stream=True)

        error = last_error(reply.content)
        assert error["code"] == "upstream_error"
        assert "GPU lost" not in error["message"]
        assert reply.headers["x-request-id"] in error["message"]
        assert (await gateway.access_lines(1))[0]["error_type"] == "upstream_error"

    async def test_silence_is_a_stall(self, start_gateway: StartGateway, upstream: FakeUpstream) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url, "timeouts": {"idle_s": 0.2}}}, {"support": {"model": "m"}}
        )
        upstream.plays("m", role(), text("Hel"), stall())
        async with client_of(gateway.url, await gateway.new_key()) as client:
            reply = await client.chat(stream=True)

        assert last_error(reply.content)["code"] == "stream_stalled"
        await asyncio.wait_for(upstream.calls[0].closed.wait(), 1)

    async def test_the_callers_own_limit_holds_for_the_whole_stream(
        self, client: Client, upstream: FakeUpstream
    ) -> None:
        upstream.plays(FT, role(), text("Hel"), stall())

        reply = await client.chat(stream=True, headers={"x-tunegate-timeout-s": "0.3"})

        assert last_error(reply.content)["code"] == "stream_stalled"

    async def test_comments_keep_a_silent_stream_alive(
        self, start_gateway: StartGateway, upstream: FakeUpstream
    ) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url}},
            {"support": {"model": "m"}},
            server={"keepalive_comment_s": 0.1},
        )
        go_on = asyncio.Event()
        upstream.plays("m", role(), text("Hel"), until(go_on), finish(), done())
        async with client_of(gateway.url, await gateway.new_key()) as client, client.stream() as reply:
            content = b""
            async for piece in reply.aiter_raw():
                content += piece
                if content.count(b": keep-alive\n\n") == 2:
                    go_on.set()

        assert content.replace(b": keep-alive\n\n", b"") == role() + text("Hel") + finish() + done()

    async def test_a_connection_cut_by_the_upstream_is_not_used_again(
        self, client: Client, upstream: FakeUpstream
    ) -> None:
        upstream.plays(FT, role(), text("x"), drop())
        await client.chat(stream=True)

        assert (await client.chat(stream=True)).content.endswith(done())

    async def test_the_first_tokens_of_a_slow_target_do_not_shorten_the_fallbacks_stream(
        self, start_gateway: StartGateway, upstream: FakeUpstream, relay: FakeUpstream
    ) -> None:
        gateway = await start_gateway(
            {
                "slow": {"base_url": upstream.url, "timeouts": {"first_token_s": 0.5}},
                "a": {"base_url": relay.url},
            },
            {"support": {"model": "m", "upstreams": ["slow", "a"]}},
        )
        upstream.plays("m", stall())
        going_on = asyncio.Event()
        relay.plays("m", role(), text("Hel"), until(going_on), finish(), done())
        async with client_of(gateway.url, await gateway.new_key()) as client:
            asyncio.get_running_loop().call_later(0.9, going_on.set)
            reply = await client.chat(stream=True, headers={"x-tunegate-timeout-s": "1.3"})

        assert reply.content.endswith(finish() + done())

    async def test_a_drains_deadline_ends_what_was_sent_and_refuses_what_was_not(
        self, client: Client, upstream: FakeUpstream, gateway: RunningGateway
    ) -> None:
        upstream.plays(FT, role(), text("Hel"), stall())
        upstream.plays(FT, stall(), content_type="application/json")
        async with client.stream() as begun:
            waiting = asyncio.create_task(client.chat())
            await eventually(lambda: len(upstream.calls) == 2)
            gateway.worker.service.stop_calls()
            content = b"".join([piece async for piece in begun.aiter_raw()])

        assert last_error(content)["code"] == "gateway_draining"
        refused = await waiting
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "gateway_draining")
        assert int(refused.headers["retry-after"]) >= 1


class TestHowItArrives:
    async def test_one_byte_at_a_time(self, client: Client, upstream: FakeUpstream) -> None:
        events = (
            role(),
            text("Hé"),
            text("l\u2028o😀"),
            b": ping\n\n",
            b"event: ping\n\n",
            finish(),
            usage(),
            done(),
        )
        upstream.plays(FT, OneByteAtATime(), *events)

        reply = await client.chat(stream=True)

        assert reply.content == role() + text("Hé") + text("l\u2028o😀") + b": ping\n\n" + finish() + done()

    async def test_the_first_content_leaves_while_the_rest_is_still_to_come(
        self, client: Client, upstream: FakeUpstream
    ) -> None:
        seen = asyncio.Event()
        upstream.plays(FT, role(), text("Hel"), until(seen), text("lo"), finish(), done())
        content = b""
        async with client.stream() as reply:
            async for piece in reply.aiter_raw():
                content += piece
                if text("Hel") in content:
                    seen.set()

        assert content == role() + text("Hel") + text("lo") + finish() + done()

    async def test_not_even_a_status_leaves_before_the_commit_point(
        self, client: Client, upstream: FakeUpstream
    ) -> None:
        committing = asyncio.Event()
        upstream.plays(FT, role(), until(committing), text("x"), finish(), done())
        waiting = asyncio.create_task(client.chat(stream=True))
        await eventually(lambda: bool(upstream.calls))
        done_early, _ = await asyncio.wait({waiting}, timeout=0.1)

        assert not done_early
        committing.set()
        assert (await waiting).status_code == 200

    async def test_http_1_0_ends_with_the_connection(self, gateway: RunningGateway, key: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(chat_bytes(key, "1.0", stream=True))
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()

        answered_head, _, content = answer.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in answered_head
        assert b"connection: close" in answered_head
        assert content == role() + text("Hel") + text("lo") + finish() + done()


class TestClientsThatLeave:
    async def leave(self, gateway: RunningGateway, key: str, seen: bytes, *, by_reset: bool = False) -> None:
        """Ask for a stream and leave once `seen` has come."""
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(chat_bytes(key, stream=True))
        content = b""
        try:
            while seen not in content:
                content += await asyncio.wait_for(reader.read(65536), 5)
        except asyncio.CancelledError:
            writer.close()
            raise
        if by_reset:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()

    @pytest.mark.parametrize("by_reset", [False, True])
    async def test_in_the_middle_closes_the_upstream(
        self, gateway: RunningGateway, key: str, upstream: FakeUpstream, by_reset: bool
    ) -> None:
        upstream.plays(FT, role(), text("Hel"), stall())

        await self.leave(gateway, key, text("Hel"), by_reset=by_reset)

        await asyncio.wait_for(upstream.calls[0].closed.wait(), 1)
        [line] = await gateway.access_lines(1)
        assert line["error_type"] == "client_left"

    async def test_before_anything_came_closes_the_upstream(
        self, gateway: RunningGateway, key: str, upstream: FakeUpstream
    ) -> None:
        upstream.plays(FT, role(), stall())
        leaving = asyncio.create_task(self.leave(gateway, key, b"never sent"))
        await eventually(lambda: bool(upstream.calls))
        leaving.cancel()
        await asyncio.wait_for(upstream.calls[0].closed.wait(), 1)

        [line] = await gateway.access_lines(1)
        assert (line["status"], line["error_type"]) == (499, "client_left")

    async def test_with_a_json_call_in_flight(
        self, gateway: RunningGateway, key: str, upstream: FakeUpstream
    ) -> None:
        upstream.plays(FT, b'{"choices"', stall(), content_type="application/json")
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(chat_bytes(key))
        await eventually(lambda: bool(upstream.calls))
        writer.close()

        await asyncio.wait_for(upstream.calls[0].closed.wait(), 1)

    async def test_after_the_finish_reason_the_usage_is_still_read(
        self, gateway: RunningGateway, key: str, upstream: FakeUpstream
    ) -> None:
        left = asyncio.Event()
        upstream.plays(FT, role(), text("Hel"), finish(), until(left), usage(5, 3), done())

        await self.leave(gateway, key, finish())
        await asyncio.sleep(0.05)
        left.set()

        [line] = await gateway.access_lines(1)
        assert (line["prompt_tokens"], line["completion_tokens"]) == (5, 3)
        assert "error_type" not in line

    async def test_but_not_for_ever(self, gateway: RunningGateway, key: str, upstream: FakeUpstream) -> None:
        upstream.plays(FT, role(), text("Hel"), finish(), stall())

        await self.leave(gateway, key, finish())

        await asyncio.wait_for(upstream.calls[0].closed.wait(), 4)
        [line] = await gateway.access_lines(1)
        assert "error_type" not in line

    async def test_nothing_stays_behind(
        self, gateway: RunningGateway, key: str, upstream: FakeUpstream
    ) -> None:
        for _ in range(10):
            upstream.plays(FT, role(), text("Hel"), stall())
        await asyncio.gather(*(self.leave(gateway, key, text("Hel")) for _ in range(10)))

        await eventually(lambda: upstream.open_connections == 0)
        await eventually(lambda: gateway.worker.application.in_flight == 0)
        assert gateway.worker.health.in_flight("openai") == 0


class TestSlowReaders:
    async def test_a_stopped_reader_pauses_its_upstream(
        self, gateway: RunningGateway, key: str, upstream: FakeUpstream
    ) -> None:
        piece = text("x" * 60_000)
        pieces = 400
        upstream.plays(FT, role(), *[piece] * pieces, finish(), done())
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        writer.write(chat_bytes(key, stream=True))
        await reader.readexactly(100)

        connection = next(iter(gateway.server.server_state.connections))
        await eventually(lambda: connection.flow.write_paused)
        held = connection.transport.get_write_buffer_size()
        assert held < 1_000_000 < len(piece) * pieces

        received = 100
        while chunk := await asyncio.wait_for(reader.read(1 << 20), 10):
            received += len(chunk)
            if chunk.endswith(b"0\r\n\r\n"):
                break
        writer.close()
        assert received > len(piece) * pieces

    async def test_one_that_never_reads_is_cut(
        self, start_gateway: StartGateway, upstream: FakeUpstream
    ) -> None:
        gateway = await start_gateway(
            {"a": {"base_url": upstream.url}}, {"support": {"model": "m"}}, server={"write_stall_s": 0.3}
        )
        upstream.plays("m", role(), *[text("x" * 60_000)] * 400, finish(), done())
        key = await gateway.new_key()
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=4096)
        writer.write(chat_bytes(key, stream=True))

        await eventually(lambda: bool(upstream.calls) and upstream.calls[0].closed.is_set(), 5)
        await eventually(lambda: gateway.worker.application.in_flight == 0)
        writer.close()
        assert reader.exception() is None
