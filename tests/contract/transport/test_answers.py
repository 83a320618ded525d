"""What an upstream may answer, and what becomes of it."""

import asyncio

import pytest

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.port import Transport
from tests.contract.transport.wire import LAST_CHUNK, STREAM_HEAD, Recorder, answer, answering, chunked, post
from tests.support.polling import until
from tests.support.scripted_server import Peer, serving

BODY = b'{"id": "chatcmpl-1"}'


async def body_of(transport: Transport, wire: bytes, *, close: bool = False, **fields: object) -> bytes:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(wire)
        if not close:
            await peer.gone()

    async with serving(script) as server:
        response = await transport.send(post(server.origin, **fields))  # type: ignore[arg-type]  # see `post`
        return await response.read(1 << 20)


@pytest.mark.parametrize(
    ("wire", "close"),
    [
        (answer(BODY), False),
        (STREAM_HEAD + chunked(BODY[:3], BODY[3:]) + LAST_CHUNK, False),
        (
            STREAM_HEAD + b"3;ext=1\r\n" + BODY[:3] + b"\r\n" + chunked(BODY[3:]) + b"0\r\nx-sum: 1\r\n\r\n",
            False,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n" + BODY, True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 20\r\n\r\n" + BODY, True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(BODY), False),
        (answer(BODY) + b"trailing garbage", False),
    ],
    ids=[
        "length",
        "chunked",
        "extensions-trailers",
        "close-delimited",
        "http1.0",
        "interim",
        "garbage-behind",
    ],
)
async def test_every_framing_gives_the_same_body(transport: Transport, wire: bytes, close: bool) -> None:
    assert await body_of(transport, wire, close=close) == BODY


@pytest.mark.parametrize("wire", [answer(BODY, b"X-Some: Thing"), STREAM_HEAD + chunked(BODY) + LAST_CHUNK])
async def test_an_answer_may_come_byte_by_byte(transport: Transport, wire: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.trickle(wire)
        await peer.gone()

    async with serving(script) as server:
        response = await transport.send(post(server.origin))
        sink = Recorder()
        response.attach(sink)
        assert await sink.wait() == "end"
    assert sink.body == BODY
    assert response.status == 200


async def test_status_and_headers_come_as_sent_with_lower_case_names(transport: Transport) -> None:
    wire = answer(
        b"", b"X-Request-Id: req_1", b"Set-Cookie: a=1", b"set-cookie: b=2", status=b"429 Slow Down"
    )
    async with serving(answering(wire)) as server:
        response = await transport.send(post(server.origin))
        assert await response.read(100) == b""
    assert response.status == 429
    assert response.headers == (
        (b"content-length", b"0"),
        (b"x-request-id", b"req_1"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    )
    assert response.header(b"x-request-id") == b"req_1"
    assert response.header(b"set-cookie") == b"a=1"
    assert response.header(b"retry-after") is None
    told = {name: response.has_any(name) for name in (b"content-", b"set-cookie", b"cookie", b"openai-")}
    assert told == {b"content-": True, b"set-cookie": True, b"cookie": False, b"openai-": False}


async def test_redirects_are_answers_like_others(transport: Transport) -> None:
    wire = answer(b"", b"Location: http://127.0.0.1:1/", status=b"302 Found")
    async with serving(answering(wire)) as server:
        response = await transport.send(post(server.origin))
        assert (response.status, await response.read(100)) == (302, b"")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_status_without_body_ends_with_its_head(transport: Transport, status: bytes) -> None:
    head = b"HTTP/1.1 " + status + b"\r\n\r\n"
    async with serving(answering(head, answer())) as server:
        first = await transport.send(post(server.origin))
        assert await first.read(100) == b""
        second = await transport.send(post(server.origin))
        assert await second.read(100) == b"ok"
        assert len(server.peers) == 1


async def test_an_answer_to_head_has_no_body_whatever_its_length_says(transport: Transport) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with serving(answering(head, head, answer())) as server:
        for _ in range(2):
            response = await transport.send(post(server.origin, b"", method="HEAD"))
            assert await response.read(100) == b""
        response = await transport.send(post(server.origin))
        assert await response.read(100) == b"ok"
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    "wire",
    [
        b"<html>hello</html>\r\n\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    ],
    ids=["html", "status", "lengths", "negative", "name", "101", "endless-head"],
)
async def test_what_is_not_http_is_a_bad_response(transport: Transport, wire: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(wire)
        await peer.gone()

    async with serving(script) as server:
        with pytest.raises(AttemptFailed) as caught:
            await transport.send(post(server.origin))
    assert caught.value.failure is FailureClass.BAD_RESPONSE
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("wire", "got"),
    [
        (answer(BODY)[:-1], BODY[:-1]),
        (STREAM_HEAD + chunked(BODY), BODY),
        (STREAM_HEAD + chunked(BODY) + b"zz\r\n", BODY),
    ],
    ids=["short", "no-last-chunk", "bad-chunk-size"],
)
async def test_a_broken_body_fails_once_after_what_came(
    transport: Transport, wire: bytes, got: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(wire)

    async with serving(script) as server:
        response = await transport.send(post(server.origin))
        sink = Recorder()
        response.attach(sink)
        outcome = await sink.wait()
        assert isinstance(outcome, AttemptFailed)
        assert outcome.failure is FailureClass.BAD_RESPONSE
        assert sink.body == got
        response = await transport.send(post(server.origin))
        with pytest.raises(AttemptFailed) as caught:
            await response.read(1000)
        assert caught.value.failure is FailureClass.BAD_RESPONSE


async def test_a_reset_within_the_body_fails_once(transport: Transport) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, chunked(b"data: 1\n\n"))
        await seen.wait()
        peer.reset()

    class Seeing(Recorder):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            seen.set()

    async with serving(script) as server:
        response = await transport.send(post(server.origin))
        sink = Seeing()
        response.attach(sink)
        outcome = await sink.wait()
    assert isinstance(outcome, AttemptFailed)
    assert outcome.failure is FailureClass.BAD_RESPONSE
    assert sink.body == b"data: 1\n\n"


async def test_read_refuses_more_than_its_limit_and_closes(transport: Transport) -> None:
    wire = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 100_001
    async with serving(answering(wire)) as server:
        response = await transport.send(post(server.origin))
        with pytest.raises(AttemptFailed) as caught:
            await response.read(100_000)
        assert caught.value.failure is FailureClass.BAD_RESPONSE
        assert "100000" in str(caught.value)
        await until(lambda: server.peers[0].is_gone)


async def test_read_gives_a_body_of_exactly_the_limit(transport: Transport) -> None:
    assert len(await body_of(transport, answer(b"x" * (1 << 20)))) == 1 << 20


async def test_a_body_is_delivered_once(transport: Transport) -> None:
    async with serving(answering(answer())) as server:
        response = await transport.send(post(server.origin))
        await response.read(100)
        with pytest.raises(RuntimeError):
            response.attach(Recorder())
        with pytest.raises(RuntimeError):
            await response.read(100)


async def test_many_calls_at_once_get_their_own_answers(transport: Transport) -> None:
    async def echo(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.send(STREAM_HEAD, chunked(request.partition(b"\r\n\r\n")[2]), LAST_CHUNK)

    async with serving(echo) as server:

        async def call(n: int) -> None:
            for step in range(5):
                body = b"%d-%d" % (n, step) * 50
                response = await transport.send(post(server.origin, body))
                assert await response.read(10_000) == body

        await asyncio.gather(*(call(n) for n in range(40)))
        assert len(server.peers) <= 40
