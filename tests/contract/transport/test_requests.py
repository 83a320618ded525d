"""What a request looks like to the upstream, and on which connection it comes."""

import asyncio
from pathlib import Path

import pytest

from gateway.upstream.port import Origin, Transport
from tests.contract.transport.wire import HEADERS, LAST_CHUNK, STREAM_HEAD, answer, answering, chunked, post
from tests.support.scripted_server import Peer, serving


def fields(request: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
    pairs = [line.split(b": ", 1) for line in lines[1:]]
    assert len({name.lower() for name, _ in pairs}) == len(pairs), "a header twice"
    return lines[0], {name.lower(): value for name, value in pairs}


async def sent(transport: Transport, **changes: object) -> bytes:
    async with serving(answering(answer())) as server:
        response = await transport.send(post(server.origin, **changes))  # type: ignore[arg-type]  # see `post`
        await response.read(100)
        return server.peers[0].requests[0].replace(b"%d" % server.port, b"PORT")


async def test_a_request_has_what_it_was_given_and_nothing_more(transport: Transport) -> None:
    request = await sent(transport, body=b'{"a":1}')
    line, headers = fields(request)
    assert line == b"POST /v1/chat/completions HTTP/1.1"
    assert headers == dict(HEADERS) | {b"host": b"127.0.0.1:PORT", b"content-length": b"7"}
    assert request.endswith(b'\r\n\r\n{"a":1}')


async def test_the_target_goes_out_unchanged(transport: Transport) -> None:
    target = "/v1/models/ft:gpt-4o:acme::x%2Fy%23z?a=b%20c&d=[1]"
    line, _ = fields(await sent(transport, method="GET", target=target, body=b""))
    assert line == b"GET " + target.encode() + b" HTTP/1.1"


@pytest.mark.parametrize(("method", "length"), [("POST", b"0"), ("GET", None), ("DELETE", None)])
async def test_an_empty_body_has_a_length_where_a_body_is_usual(
    transport: Transport, method: str, length: bytes | None
) -> None:
    _, headers = fields(await sent(transport, method=method, body=b""))
    assert headers.get(b"content-length") == length
    assert b"transfer-encoding" not in headers


async def test_a_large_body_arrives_whole(transport: Transport) -> None:
    body = bytes(range(256)) * 40_000  # 10 MB
    request = await sent(transport, body=body)
    assert request.endswith(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": ((b"x", b"a\r\nauthorization: stolen"),)},
        {"headers": ((b"x", b"a\nb"),)},
        {"headers": ((b"x", b"a\0b"),)},
        {"headers": ((b"x\r\ny", b"a"),)},
        {"headers": ((b"x y", b"a"),)},
        {"headers": ((b"Host", b"other"),)},
        {"headers": ((b"content-length", b"1"),)},
        {"headers": ((b"transfer-encoding", b"chunked"),)},
        {"target": "/v1 HTTP/1.1\r\nx: y"},
        {"target": "/v1/ä"},
        {"method": "GET /other HTTP/1.1\r\n\r\nGET"},
    ],
)
async def test_what_would_make_another_request_is_refused(
    transport: Transport, changes: dict[str, object]
) -> None:
    async with serving(answering(answer())) as server:
        with pytest.raises(ValueError, match=r"^(a|the) "):
            await transport.send(post(server.origin, **changes))  # type: ignore[arg-type]  # see `post`
        assert server.peers == []


async def test_cookies_of_one_answer_do_not_come_with_the_next_request(transport: Transport) -> None:
    wire = answer(b"ok", b"Set-Cookie: a=1; Path=/")
    async with serving(answering(wire, wire)) as server:
        for _ in range(2):
            await (await transport.send(post(server.origin))).read(100)
        assert b"cookie" not in fields(server.peers[0].requests[1])[1]


async def test_a_connection_serves_one_request_after_another(transport: Transport) -> None:
    stream = STREAM_HEAD + chunked(b"one") + LAST_CHUNK
    async with serving(answering(answer(), stream, answer(), stream)) as server:
        for _ in range(4):
            await (await transport.send(post(server.origin))).read(100)
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    "wire",
    [
        answer(b"ok", b"Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["close", "http1.0"],
)
async def test_a_connection_that_is_spent_is_not_used_again(transport: Transport, wire: bytes) -> None:
    async with serving(answering(wire)) as server:
        for n in range(1, 4):
            response = await transport.send(post(server.origin))
            assert await response.read(100) == b"ok"
            assert len(server.peers) == n


@pytest.mark.parametrize("last", ["close", "reset"])
async def test_an_idle_connection_that_died_is_not_used(transport: Transport, last: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())
        if last == "reset":
            peer.reset()

    async with serving(script, answering(answer())) as server:
        await (await transport.send(post(server.origin))).read(100)
        await asyncio.wait(server.tasks)
        assert await (await transport.send(post(server.origin))).read(100) == b"ok"
        assert len(server.peers) == 2


async def test_a_unix_socket_is_an_upstream_too(transport: Transport, tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(answering(answer(), answer()), path=path) as server:
        origin = Origin("unix", str(path), 0, allow_private=False)
        for _ in range(2):
            assert await (await transport.send(post(origin))).read(100) == b"ok"
        assert len(server.peers) == 1
        assert fields(server.peers[0].requests[0])[1][b"host"] == b"localhost"
