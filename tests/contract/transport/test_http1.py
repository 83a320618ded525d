"""What only our own client promises: its pool, its retry, its economy."""

import asyncio
import ssl
import time
from contextlib import suppress

import pytest

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.http1.pool import PoolStats
from gateway.upstream.http1.transport import Http1Transport
from gateway.upstream.port import Timeouts
from tests.contract.transport.wire import LAST_CHUNK, STREAM_HEAD, Recorder, answer, answering, chunked, post
from tests.support.polling import until
from tests.support.scripted_server import Peer, serving


async def closing_on_second_request(peer: Peer) -> None:
    await peer.request()
    await peer.send(answer(b"first"))
    await peer.request()


async def resetting_on_second_request(peer: Peer) -> None:
    await closing_on_second_request(peer)
    peer.reset()


@pytest.mark.parametrize("dying", [closing_on_second_request, resetting_on_second_request])
async def test_a_kept_connection_that_dies_unanswered_is_replaced_once(
    http1: Http1Transport, dying: object
) -> None:
    async with serving(dying, answering(answer(b"second"))) as server:  # type: ignore[arg-type]  # both are scripts
        assert await (await http1.send(post(server.origin, b"1"))).read(100) == b"first"
        assert await (await http1.send(post(server.origin, b"2"))).read(100) == b"second"
        assert len(server.peers) == 2
        assert server.peers[1].requests[0] == server.peers[0].requests[1]


async def test_the_replacement_is_fresh_and_gets_no_replacement_itself(http1: Http1Transport) -> None:
    async def stale(peer: Peer) -> None:
        await peer.request()
        await until(lambda: len(server.peers) == 2)
        await peer.send(answer())
        await peer.request()

    async def refusing(peer: Peer) -> None:
        await peer.request()

    async with serving(stale, stale, refusing) as server:
        for response in await asyncio.gather(*(http1.send(post(server.origin)) for _ in range(2))):
            await response.read(100)
        assert http1.stats() == {server.origin: PoolStats(open=2, idle=2)}
        with pytest.raises(AttemptFailed) as caught:
            await http1.send(post(server.origin))
        assert caught.value.failure is FailureClass.CONNECT
        assert len(server.peers) == 3
        assert sorted(len(peer.requests) for peer in server.peers) == [1, 1, 2]


async def test_the_replacement_does_not_start_the_wait_anew(http1: Http1Transport) -> None:
    async def slowly_dying(peer: Peer) -> None:
        await closing_on_second_request(peer)
        await asyncio.sleep(0.2)

    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with serving(slowly_dying, silent) as server:
        await (await http1.send(post(server.origin))).read(100)
        started = time.monotonic()
        with pytest.raises(AttemptFailed, match="first_token_s"):
            await http1.send(post(server.origin, timeouts=Timeouts(5, 0.3, 5)))
        assert time.monotonic() - started < 0.45
        assert len(server.peers) == 2


async def test_nothing_is_sent_again_after_a_byte_of_an_answer(http1: Http1Transport) -> None:
    async def script(peer: Peer) -> None:
        await closing_on_second_request(peer)
        await peer.send(b"H")

    async with serving(script, answering(answer())) as server:
        await (await http1.send(post(server.origin))).read(100)
        with pytest.raises(AttemptFailed) as caught:
            await http1.send(post(server.origin))
        assert caught.value.failure is FailureClass.CONNECT
        assert len(server.peers) == 1


async def test_garbage_behind_an_answer_spoils_only_the_connection(http1: Http1Transport) -> None:
    async with serving(answering(answer(b"ok") + b"HTTP/1.1 200 OK\r\n")) as server:
        for n in range(1, 4):
            assert await (await http1.send(post(server.origin))).read(100) == b"ok"
            assert len(server.peers) == n


async def test_heads_are_remembered_by_themselves_and_not_for_ever(http1: Http1Transport) -> None:
    async with serving(answering(*[answer()] * 605)) as server:
        kept = post(server.origin, b"a")
        for n in range(300):  # others die, and their places in memory come again
            headers = ((b"x", b"%d" % n),)
            await (await http1.send(post(server.origin, b"bb", headers=headers))).read(100)
            await (await http1.send(kept)).read(100)
        seen = server.peers[0].requests
        assert [b"\r\nx: %d\r\n" % (n // 2) in each for n, each in enumerate(seen)] == [True, False] * 300
        assert len(set(seen[1::2])) == 1
        assert len(http1._ways) <= 256


async def test_bytes_on_an_idle_connection_close_it(http1: Http1Transport) -> None:
    async def talkative(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())
        await until(lambda: http1.stats()[server.origin].idle == 1)
        await peer.send(answer(b"stale", status=b"408 Request Timeout"))
        await peer.gone()

    async with serving(talkative, answering(answer(b"fresh"))) as server:
        await (await http1.send(post(server.origin))).read(100)
        await until(lambda: server.peers[0].is_gone)
        assert await (await http1.send(post(server.origin))).read(100) == b"fresh"


async def test_an_answer_may_come_before_the_request_was_read(
    http1: Http1Transport, server_tls: ssl.SSLContext
) -> None:
    async def early(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(b"too large", status=b"413 Content Too Large"))
        await asyncio.sleep(30)

    for context in (None, server_tls):
        async with serving(early, answering(answer()), receive_buffer=16384, context=context) as server:
            response = await asyncio.wait_for(http1.send(post(server.origin, b"x" * (8 << 20))), 5)
            assert response.status == 413
            assert await response.read(100) == b"too large"
            assert http1.stats().get(server.origin, PoolStats(1, 0)).idle == 0
            assert await (await http1.send(post(server.origin))).read(100) == b"ok"
            assert len(server.peers) == 2


async def test_the_connection_used_last_is_used_first_and_too_many_idle_ones_are_closed(
    client_tls: ssl.SSLContext,
) -> None:
    transport = Http1Transport(ssl_context=client_tls, idle_limit=2)
    waiting = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await waiting.wait()
            await peer.send(answer(b"%d" % server.peers.index(peer)))

    async def call() -> bytes:
        return await (await transport.send(post(server.origin))).read(100)

    async with serving(script) as server:
        calls = asyncio.gather(*(call() for _ in range(4)))
        await until(lambda: len(server.peers) == 4 and all(peer.requests for peer in server.peers))
        assert transport.stats() == {server.origin: PoolStats(open=4, idle=0)}
        waiting.set()
        await calls
        await until(lambda: transport.stats() == {server.origin: PoolStats(open=2, idle=2)})
        assert len({await call() for _ in range(3)}) == 1
        await transport.aclose()
        assert transport.stats() == {}
        await until(lambda: all(peer.is_gone for peer in server.peers))


async def test_idle_connections_are_closed_at_their_age(client_tls: ssl.SSLContext) -> None:
    transport = Http1Transport(ssl_context=client_tls, idle_age_s=0.15)
    async with serving(answering(answer(), answer(), answer())) as server:
        for _ in range(3):  # in use again and again, it does not age
            await (await transport.send(post(server.origin))).read(100)
            await asyncio.sleep(0.07)
        assert len(server.peers) == 1
        started = time.monotonic()
        await until(lambda: server.peers[0].is_gone)
        assert time.monotonic() - started < 0.3
        assert transport.stats() == {}
        await (await transport.send(post(server.origin))).read(
            100
        )  # the origin was forgotten; that does no harm
        assert len(server.peers) == 2
    await transport.aclose()


async def test_idle_tls_connections_are_closed_in_good_order(
    http1: Http1Transport, server_tls: ssl.SSLContext
) -> None:
    async with serving(answering(answer()), context=server_tls) as server:
        await (await http1.send(post(server.origin))).read(100)
        started = time.monotonic()
        await http1.aclose()
        assert time.monotonic() - started < 1
        await until(lambda: server.peers[0].is_gone)


async def test_pieces_read_together_are_delivered_together(http1: Http1Transport) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD + chunked(b"zero"))
        await until(lambda: sink.pieces)
        await peer.send(chunked(b"one", b"two", b"three") + LAST_CHUNK)
        await peer.gone()

    sink = Recorder()
    async with serving(script) as server:
        (await http1.send(post(server.origin))).attach(sink)
        assert await sink.wait() == "end"
        assert sink.pieces == [b"zero", b"onetwothree"]


async def test_a_small_answer_frees_its_connection_before_anyone_reads_it(http1: Http1Transport) -> None:
    async with serving(answering(answer(b"a" * 1000))) as server:
        response = await http1.send(post(server.origin))
        await until(lambda: http1.stats()[server.origin].idle == 1)
        assert await response.read(1000) == b"a" * 1000


async def test_a_tls_body_that_ends_without_tls_ending_is_cut_short(
    http1: Http1Transport, server_tls: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhal")

    async with serving(script, context=server_tls) as server:
        response = await http1.send(post(server.origin))
        with pytest.raises(AttemptFailed) as caught:
            await response.read(100)
        assert caught.value.failure is FailureClass.BAD_RESPONSE


async def test_heads_are_bounded_in_number_too(http1: Http1Transport) -> None:
    many = b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 300 + b"\r\n"
    async with serving(answering(many)) as server:
        with pytest.raises(AttemptFailed, match="256 headers"):
            await http1.send(post(server.origin))


async def test_waits_of_many_calls_are_kept_apart(http1: Http1Transport) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async def call(first_token_s: float) -> float:
        started = time.monotonic()
        with pytest.raises(AttemptFailed):
            await http1.send(post(server.origin, timeouts=Timeouts(5, first_token_s, 5)))
        return time.monotonic() - started - first_token_s

    async with serving(silent) as server:
        late = await asyncio.gather(*(call(first_token_s) for first_token_s in (0.3, 0.1, 0.2, 0.1, 0.25)))
        assert all(-0.01 < lateness < 0.1 for lateness in late), late


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_cancelling_at_any_step_leaves_nothing(
    http1: Http1Transport, tls: bool, server_tls: ssl.SSLContext
) -> None:
    async def call() -> None:
        await (await http1.send(post(server.origin))).read(100)

    def in_use() -> int:
        return sum(pool.open - pool.idle for pool in http1.stats().values())

    async def slow(peer: Peer) -> None:
        await peer.request()
        await peer.send(*(bytes([byte]) for byte in answer()))
        await peer.gone()

    async with serving(slow, context=server_tls if tls else None) as server:
        for steps in range(60):
            task = asyncio.create_task(call())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await until(lambda: in_use() == 0, within_s=1)


async def test_nothing_is_sent_after_closing(http1: Http1Transport) -> None:
    async with serving(answering(answer())) as server:
        await http1.aclose()
        with pytest.raises(AttemptFailed, match="stopping"):
            await http1.send(post(server.origin))
        assert server.peers == []
