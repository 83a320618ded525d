"""The flow of a body: back-pressure, giving up, stopping."""

import asyncio
import ssl

import pytest

from gateway.domain.errors import AttemptFailed
from gateway.upstream.port import Transport
from tests.contract.transport.wire import LAST_CHUNK, STREAM_HEAD, Recorder, answer, answering, chunked, post
from tests.support.polling import until
from tests.support.scripted_server import Peer, TlsPeer, serving

PIECE = bytes(range(256)) * 256  # 64 KiB
PIECES = 400  # 25 MiB: more than all buffers between the two ends
BOUND = 200 * len(PIECE)


class Flood:
    """A script that sends as fast as it may; `sent` stands still while the client does not read."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD)
        for _ in range(PIECES):
            await peer.send(chunked(PIECE))
            self.sent += len(PIECE)
        await peer.send(LAST_CHUNK)
        await peer.request()
        await peer.send(answer())
        await peer.gone()

    async def stalls(self) -> None:
        """Wait until nothing more is sent for a while."""
        last, since = -1, 0
        for _ in range(1000):
            since = since + 1 if self.sent == last else 0
            last = self.sent
            if since == 20:
                return
            await asyncio.sleep(0.005)
        raise AssertionError("it never stalled")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_paused_response_holds_the_upstream_back(
    transport: Transport, tls: bool, server_tls: ssl.SSLContext
) -> None:
    flood = Flood()
    async with serving(flood, context=server_tls if tls else None) as server:
        response = await transport.send(post(server.origin))
        sink = Recorder()
        response.pause()
        response.attach(sink)
        await flood.stalls()
        assert flood.sent < BOUND
        assert len(sink.body) <= 2 * 65536 + 262144
        response.pause()
        response.resume()
        response.resume()
        assert await sink.wait() == "end"
        assert sink.body == PIECE * PIECES
        assert await (await transport.send(post(server.origin))).read(100) == b"ok"
        assert len(server.peers) == 1


async def test_a_response_may_be_paused_and_resumed_at_any_piece(transport: Transport) -> None:
    class Stopping(Recorder):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            response.pause()
            asyncio.get_running_loop().call_soon(response.resume)

    async with serving(Flood()) as server:
        response = await transport.send(post(server.origin))
        sink = Stopping()
        response.attach(sink)
        assert await sink.wait() == "end"
        assert sink.body == PIECE * PIECES


async def test_a_response_that_nobody_reads_holds_the_upstream_back(transport: Transport) -> None:
    flood = Flood()
    async with serving(flood) as server:
        response = await transport.send(post(server.origin))
        await flood.stalls()
        assert flood.sent < BOUND
        assert len(await response.read(PIECES * len(PIECE))) == PIECES * len(PIECE)


async def test_a_body_that_ends_while_paused_is_delivered_and_its_connection_goes_on(
    transport: Transport,
) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, chunked(b"one"))
        await go.wait()
        await peer.send(chunked(b"two") + LAST_CHUNK)
        await peer.request()
        await peer.send(answer())

    class Pausing(Recorder):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            response.pause()

    async with serving(script, answering(answer())) as server:
        response = await transport.send(post(server.origin))
        sink = Pausing()
        response.attach(sink)
        await until(lambda: sink.pieces)
        go.set()
        response.resume()
        await until(lambda: sink.body == b"onetwo" or sink.finished.is_set())
        response.resume()
        assert await sink.wait() == "end"
        response.pause()
        assert await (await transport.send(post(server.origin))).read(100) == b"ok"
        assert len(server.peers) == 1
        await asyncio.wait(server.tasks)  # the upstream closes; the connection is not paused, so that is seen
        assert await (await transport.send(post(server.origin))).read(100) == b"ok"
        assert len(server.peers) == 2


@pytest.mark.parametrize("when", ["before", "within", "after-attach", "paused"])
async def test_aborting_closes_the_connection_and_silences_the_sink(transport: Transport, when: str) -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, chunked(b"data"))
        await peer.gone()

    class Aborting(Recorder):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            if when == "within":
                response.abort()

    async with serving(endless) as server:
        response = await transport.send(post(server.origin))
        sink = Aborting()
        if when == "before":
            response.abort()
            response.attach(sink)
        else:
            response.attach(sink)
            await until(lambda: sink.pieces)
        if when == "paused":
            response.pause()
        response.abort()
        response.abort()
        await until(lambda: server.peers[0].is_gone, within_s=1)
        response.resume()
        await asyncio.sleep(0.01)
        assert sink.outcome is None
        assert sink.pieces in ([b"data"], [])


async def test_aborting_a_complete_response_leaves_its_connection_alone(transport: Transport) -> None:
    stream = STREAM_HEAD + chunked(b"x") + LAST_CHUNK
    async with serving(answering(stream, stream, stream)) as server:
        for _ in range(3):
            response = await transport.send(post(server.origin))
            sink = Recorder()
            response.attach(sink)
            await sink.wait()
            response.abort()
        assert len(server.peers) == 1


async def test_aborting_while_the_upstream_breaks_calls_nobody(transport: Transport) -> None:
    async def breaking(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, chunked(b"data"))
        await peer.gone()

    async with serving(breaking) as server:
        response = await transport.send(post(server.origin))
        sink = Recorder()
        response.attach(sink)
        await until(lambda: sink.pieces)
        server.peers[0].reset()
        response.abort()
        await asyncio.sleep(0.02)
        assert sink.outcome is None


async def test_a_sink_that_raises_is_told_that_it_is_over(transport: Transport) -> None:
    attached = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD)
        await attached.wait()
        await peer.send(chunked(b"data"))
        await peer.gone()

    class Raising(Recorder):
        def data(self, chunk: bytes) -> None:
            raise ZeroDivisionError(chunk)

    told: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    async with serving(script) as server:
        response = await transport.send(post(server.origin))
        sink = Raising()
        response.attach(sink)
        attached.set()
        assert isinstance(await sink.wait(), AttemptFailed)
        await until(lambda: server.peers[0].is_gone)
    assert [type(error) for error in told] == [ZeroDivisionError]


async def test_closing_the_transport_breaks_what_is_under_way(transport: Transport) -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, chunked(b"data"))
        await peer.gone()

    async with serving(endless) as server:
        sinks = []
        for _ in range(3):
            response = await transport.send(post(server.origin))
            sinks.append(Recorder())
            response.attach(sinks[-1])
        await until(lambda: all(sink.pieces for sink in sinks))
        await transport.aclose()
        for sink in sinks:
            assert isinstance(await sink.wait(), AttemptFailed)
        await until(lambda: all(peer.is_gone for peer in server.peers))


async def test_the_time_of_the_last_byte_is_known(transport: Transport) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, chunked(b"one"))
        await go.wait()
        await peer.send(chunked(b"two") + LAST_CHUNK)
        await peer.gone()

    loop = asyncio.get_running_loop()
    async with serving(script) as server:
        response = await transport.send(post(server.origin))
        sink = Recorder()
        response.attach(sink)
        await until(lambda: sink.pieces)
        first = response.last_byte_at
        assert abs(loop.time() - first) < 1
        await asyncio.sleep(0.02)
        go.set()
        await sink.wait()
        assert first + 0.01 < response.last_byte_at <= loop.time()


async def test_a_tls_body_without_framing_ends_with_tls(
    transport: Transport, server_tls: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        assert isinstance(peer, TlsPeer)
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nall")
        await peer.end_tls()

    async with serving(script, context=server_tls) as server:
        response = await transport.send(post(server.origin))
        assert await response.read(100) == b"all"
