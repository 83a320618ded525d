"""Ways in which no connection comes about, and what is said of them."""

import asyncio
import datetime as dt
import socket
import ssl
import time
from collections.abc import Callable

import pytest
import trustme

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.port import Origin, Timeouts, Transport
from tests.contract.transport.conftest import Answer, serving_context
from tests.contract.transport.wire import LAST_CHUNK, STREAM_HEAD, Recorder, answer, answering, chunked, post
from tests.support.polling import until
from tests.support.scripted_server import Peer, black_hole, serving

HASTY = Timeouts(connect_s=0.2, first_token_s=5, idle_s=5)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def failure_of(transport: Transport, origin: Origin, timeouts: Timeouts = HASTY) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        await transport.send(post(origin, timeouts=timeouts))
    assert "sk-secret" not in str(caught.value)
    return caught.value


async def test_a_refused_connection(transport: Transport) -> None:
    port = free_port()
    error = await failure_of(transport, Origin("http", "127.0.0.1", port))
    assert error.failure is FailureClass.CONNECT
    assert str(error) == f"cannot connect to 127.0.0.1:{port}: connection refused"


async def test_a_missing_unix_socket(transport: Transport) -> None:
    error = await failure_of(transport, Origin("unix", "/nonexistent/socket", 0))
    assert error.failure is FailureClass.CONNECT
    assert "/nonexistent/socket" in str(error)


async def test_an_unknown_name(transport: Transport, names: dict[str, Answer]) -> None:
    names["missing.test"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    error = await failure_of(transport, Origin("http", "missing.test", 80))
    assert error.failure is FailureClass.CONNECT
    assert str(error) == "cannot resolve missing.test: Name or service not known"


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test", "ä..b"])
async def test_what_cannot_be_a_name(transport: Transport, host: str) -> None:
    error = await failure_of(transport, Origin("http", host, 80))
    assert error.failure is FailureClass.CONNECT


async def test_a_silent_name_server_is_bounded_and_blocks_nothing(
    transport: Transport, names: dict[str, Answer]
) -> None:
    names["slow.test"] = 30.0
    started = time.monotonic()
    error = await failure_of(transport, Origin("http", "slow.test", 80))
    assert error.failure is FailureClass.TIMEOUT
    assert str(error) == "no connection to slow.test:80 within 0.2 s (connect_s)"
    assert time.monotonic() - started < 0.5


async def test_a_connection_that_is_never_accepted(transport: Transport) -> None:
    async with black_hole() as port:
        started = time.monotonic()
        error = await failure_of(transport, Origin("http", "127.0.0.1", port))
        assert error.failure is FailureClass.TIMEOUT
        assert "connect_s" in str(error)
        assert 0.15 < time.monotonic() - started < 0.5


async def test_a_dead_first_address_leaves_time_for_the_second(
    transport: Transport, names: dict[str, Answer]
) -> None:
    async with serving(answering(answer())) as server, black_hole("127.0.0.2", server.port):
        names["two.test"] = ["127.0.0.2", "127.0.0.1"]
        request = post(server.named("two.test"), timeouts=Timeouts(connect_s=1, first_token_s=5, idle_s=5))
        started = time.monotonic()
        assert await (await transport.send(request)).read(100) == b"ok"
        assert time.monotonic() - started < 0.9
        assert b"host: two.test:" in server.peers[0].requests[0].lower()


async def test_a_refusing_first_address_does_not_matter(
    transport: Transport, names: dict[str, Answer]
) -> None:
    async with serving(answering(answer())) as server:
        names["two.test"] = ["127.0.0.2", "127.0.0.1"]
        assert await (await transport.send(post(server.named("two.test")))).read(100) == b"ok"


@pytest.mark.parametrize("last", ["close", "reset", "partial"])
async def test_a_fresh_connection_lost_before_the_head_is_not_tried_again(
    transport: Transport, last: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if last == "partial":
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-")
        if last == "reset":
            peer.reset()

    async with serving(script) as server:
        error = await failure_of(transport, server.origin)
        assert error.failure is FailureClass.CONNECT
        assert f"127.0.0.1:{server.port}" in str(error)
        assert len(server.peers) == 1


async def test_no_answer_within_first_token_s(transport: Transport) -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\nX: never ending")) as server:
        timeouts = Timeouts(connect_s=5, first_token_s=0.2, idle_s=5)
        started = time.monotonic()
        error = await failure_of(transport, server.origin, timeouts)
        assert 0.15 < time.monotonic() - started < 0.4
        assert error.failure is FailureClass.TIMEOUT
        assert str(error) == f"127.0.0.1:{server.port} sent no answer within 0.2 s (first_token_s)"
        await until(lambda: server.peers[0].is_gone)


async def test_the_wait_for_the_head_starts_when_the_request_is_sent(
    transport: Transport, names: dict[str, Answer]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.25)
        await peer.send(answer())
        await peer.gone()

    async with serving(script) as server:
        timeouts = Timeouts(connect_s=0.2, first_token_s=2, idle_s=5)
        assert await (await transport.send(post(server.origin, timeouts=timeouts))).read(100) == b"ok"


async def test_read_gives_up_on_silence_only(transport: Transport) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD)
        for _ in range(4):
            await asyncio.sleep(0.06)
            await peer.send(chunked(b"x"))
        await peer.gone()

    async with serving(script) as server:
        timeouts = Timeouts(connect_s=5, first_token_s=5, idle_s=0.15)
        response = await transport.send(post(server.origin, timeouts=timeouts))
        started = time.monotonic()
        with pytest.raises(AttemptFailed) as caught:
            await response.read(100)
        assert 0.35 < time.monotonic() - started < 0.7
        assert caught.value.failure is FailureClass.TIMEOUT
        assert "idle_s" in str(caught.value)
        await until(lambda: server.peers[0].is_gone)


@pytest.mark.parametrize("stage", ["name", "connect", "tls", "head", "body"])
async def test_a_cancelled_call_leaves_nothing(
    transport: Transport, names: dict[str, Answer], stage: str, server_tls: ssl.SSLContext
) -> None:
    async def silent(peer: Peer) -> None:
        if stage in ("head", "body"):
            await peer.request()
        if stage == "body":
            await peer.send(STREAM_HEAD + chunked(b"x"))
        await peer.gone()

    async def call(origin: Origin) -> None:
        await (await transport.send(post(origin))).read(100)

    names["slow.test"] = 30.0
    async with serving(silent) as server, black_hole() as hole:
        origin = {
            "name": Origin("http", "slow.test", 80),
            "connect": Origin("http", "127.0.0.1", hole),
            "tls": Origin("https", "127.0.0.1", server.port),
        }.get(stage, server.origin)
        task = asyncio.create_task(call(origin))
        if stage in ("head", "body"):
            await until(lambda: server.peers and server.peers[0].requests)
        if stage == "tls":
            await until(lambda: server.peers)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if stage in ("head", "body", "tls"):
            await until(lambda: server.peers[0].is_gone, within_s=1)


# Addresses


async def test_private_addresses_are_refused_where_they_are_not_allowed(
    transport: Transport, names: dict[str, Answer]
) -> None:
    names["inside.test"] = ["127.0.0.1"]
    async with serving(answering(answer())) as server:
        for host in ("127.0.0.1", "inside.test", "localhost"):
            error = await failure_of(transport, Origin("http", host, server.port, allow_private=False))
            assert error.failure is FailureClass.CONNECT
            assert "is a loopback address" in str(error)
        assert server.peers == []


async def test_metadata_addresses_are_refused_always(transport: Transport, names: dict[str, Answer]) -> None:
    names["metadata.test"] = ["169.254.169.254"]
    for host in ("169.254.169.254", "metadata.test", "::ffff:169.254.169.254", "fe80::1"):
        error = await failure_of(transport, Origin("http", host, 80))
        assert error.failure is FailureClass.CONNECT
        assert "refused by the gateway" in str(error)


# TLS


async def test_tls_with_a_name(transport: Transport, server_tls: ssl.SSLContext) -> None:
    stream = STREAM_HEAD + chunked(b"one", b"two") + LAST_CHUNK
    async with serving(answering(stream, stream), context=server_tls) as server:
        for host in ("localhost", "localhost"):
            response = await transport.send(post(server.named(host), b"x" * 1_000_000))
            sink = Recorder()
            response.attach(sink)
            assert await sink.wait() == "end"
            assert sink.body == b"onetwo"
        assert len(server.peers) == 1


async def test_the_certificate_is_checked_for_the_name_and_not_the_address(
    transport: Transport, server_tls: ssl.SSLContext, names: dict[str, Answer]
) -> None:
    names["other.test"] = ["127.0.0.1"]
    async with serving(answering(answer()), context=server_tls) as server:
        await (await transport.send(post(server.named("localhost")))).read(100)
        error = await failure_of(transport, server.named("other.test"))
        assert error.failure is FailureClass.CONNECT
        assert "other.test" in str(error)
        assert "doesn't match" in str(error) or "mismatch" in str(error)


def expired(authority: trustme.CA) -> trustme.LeafCert:
    now = dt.datetime.now(dt.UTC)
    return authority.issue_cert(
        "127.0.0.1", not_before=now - dt.timedelta(days=9), not_after=now - dt.timedelta(days=1)
    )


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        (expired, "expired"),
        (lambda authority: authority.issue_cert("other.test"), "not valid for"),
        (lambda _: trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer"),
    ],
    ids=["expired", "wrong-name", "unknown-authority"],
)
async def test_a_bad_certificate(
    transport: Transport,
    authority: trustme.CA,
    certificate: Callable[[trustme.CA], trustme.LeafCert],
    words: str,
) -> None:
    async with serving(answering(answer()), context=serving_context(certificate(authority))) as server:
        error = await failure_of(transport, server.origin)
        assert error.failure is FailureClass.CONNECT
        assert str(error).startswith(f"TLS with 127.0.0.1:{server.port} failed: ")
        assert words in str(error) or "mismatch" in str(error)
        assert server.peers[0].requests == []


async def test_a_server_that_does_not_speak_tls(transport: Transport) -> None:
    async def plain(peer: Peer) -> None:
        await peer.receive()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(plain) as server:
        error = await failure_of(transport, Origin("https", "127.0.0.1", server.port))
        assert error.failure is FailureClass.CONNECT
        assert str(error).startswith(f"TLS with 127.0.0.1:{server.port} failed")


@pytest.mark.parametrize("last", ["close", "reset"])
async def test_a_server_that_leaves_within_the_handshake(transport: Transport, last: str) -> None:
    async def leaving(peer: Peer) -> None:
        await peer.receive()
        if last == "reset":
            peer.reset()

    async with serving(leaving) as server:
        error = await failure_of(transport, Origin("https", "127.0.0.1", server.port))
        assert error.failure is FailureClass.CONNECT


async def test_a_handshake_that_never_ends(transport: Transport) -> None:
    async with serving(Peer.gone) as server:
        error = await failure_of(transport, Origin("https", "127.0.0.1", server.port))
        assert error.failure is FailureClass.TIMEOUT
        assert "connect_s" in str(error)
        await until(lambda: server.peers[0].is_gone)
