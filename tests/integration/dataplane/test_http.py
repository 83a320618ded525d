"""Framing and other bytes that are no request: each gets an official answer, and the server lives on."""

import asyncio
import json

import pytest

from tests.integration.dataplane.conftest import StartGateway
from tests.support.client import HI, Client, client_of, error_of, raw
from tests.support.fake_upstream import FakeUpstream
from tests.support.gateway import RunningGateway

BODY = json.dumps({"model": "support", "messages": HI}).encode()


def request(
    key: str, *headers: str, body: bytes = BODY, version: str = "1.1", host: str | None = "x"
) -> bytes:
    lines = [f"POST /v1/chat/completions HTTP/{version}", f"Authorization: Bearer {key}", *headers]
    if host is not None:
        lines.insert(1, f"Host: {host}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


LENGTH = f"Content-Length: {len(BODY)}"
BROKEN = {
    "two lengths that differ": (LENGTH, "Content-Length: 5"),
    "two lengths that agree": (LENGTH, LENGTH),
    "a length and chunks": (LENGTH, "Transfer-Encoding: chunked"),
    "chunks and a length": ("Transfer-Encoding: chunked", LENGTH),
    "a length that is no number": ("Content-Length: five",),
    "a negative length": ("Content-Length: -5",),
    "a list of lengths": (f"Content-Length: {len(BODY)}, {len(BODY)}",),
    "a space before the colon": ("Content-Length : 5",),
    "an unknown transfer coding": ("Transfer-Encoding: xchunked",),
    "a header without a colon": ("nonsense",),
    "a control character": ("x-a: b\x00c", LENGTH),
    "two hosts": ("Host: y", LENGTH),
}


@pytest.mark.parametrize("headers", BROKEN.values(), ids=BROKEN.keys())
async def test_ambiguous_framing_is_refused_and_closed(
    gateway: RunningGateway, key: str, upstream: FakeUpstream, headers: tuple[str, ...]
) -> None:
    answer = await raw(gateway.port, request(key, *headers))

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"x-request-id: req_" in answer
    assert error_of(answer)["type"] == "invalid_request_error"
    assert answer.count(b"HTTP/1.1") == 1
    assert upstream.calls == []


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_http(gateway: RunningGateway, sent: bytes) -> None:
    answer = await raw(gateway.port, sent)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert error_of(answer)


async def test_broken_chunks_in_a_body(gateway: RunningGateway, key: str) -> None:
    answer = await raw(
        gateway.port, request(key, "Transfer-Encoding: chunked", body=b"zz\r\nabc\r\n0\r\n\r\n")
    )

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_missing_host(gateway: RunningGateway, key: str) -> None:
    assert (await raw(gateway.port, request(key, LENGTH, host=None))).startswith(b"HTTP/1.1 400 ")
    assert (await raw(gateway.port, request(key, LENGTH, host=None, version="1.0"))).startswith(
        b"HTTP/1.1 200 "
    )


async def test_http_1_0_gets_a_whole_reply_and_a_close(gateway: RunningGateway, key: str) -> None:
    answer = await raw(gateway.port, request(key, LENGTH, version="1.0"))

    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert json.loads(content)["choices"]


async def test_a_chunked_body_is_a_body(gateway: RunningGateway, key: str) -> None:
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)

    answer = await raw(
        gateway.port, request(key, "Transfer-Encoding: chunked", "Connection: close", body=chunked)
    )

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_one_byte_at_a_time(gateway: RunningGateway, key: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for byte in request(key, LENGTH, "Connection: close"):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)

    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_requests_in_one_write_are_answered_in_their_order(gateway: RunningGateway, key: str) -> None:
    first = request(key, LENGTH)
    second = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    answer = await raw(gateway.port, first + second)

    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.endswith(b'{"status":"ok"}')


async def test_a_hundred_continue(gateway: RunningGateway, key: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request(key, LENGTH, "Expect: 100-continue", "Connection: close", body=b""))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)

    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_no_continue_for_a_body_that_is_too_large(gateway: RunningGateway, key: str) -> None:
    answer = await raw(
        gateway.port, request(key, "Content-Length: 99999999", "Expect: 100-continue", body=b"")
    )

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_compressed_body_that_is_too_large_is_too_large(
    start_gateway: StartGateway, upstream: FakeUpstream
) -> None:
    gateway = await start_gateway({"a": {"base_url": upstream.url}}, {}, server={"max_body_bytes": 100})
    key, body = await gateway.new_key(), b" " * 101

    for came_with_its_head in (body, b""):
        head = ("Content-Length: 101", "Content-Encoding: gzip", "Connection: close")
        answer = await raw(gateway.port, request(key, *head, body=came_with_its_head))
        assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_head_that_is_too_large(gateway: RunningGateway, key: str) -> None:
    answer = await raw(gateway.port, request(key, "x-pad: " + "x" * 70_000, LENGTH))

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_an_upgrade_is_refused(gateway: RunningGateway) -> None:
    answer = await raw(
        gateway.port,
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 4")


async def test_slow_heads_and_bodies_are_told_so(start_gateway: StartGateway, upstream: FakeUpstream) -> None:
    gateway = await start_gateway(
        {"a": {"base_url": upstream.url}},
        {"support": {"model": "m"}},
        server={"header_timeout_s": 0.2, "body_timeout_s": 0.2},
    )
    key = await gateway.new_key()
    slow_head = raw(gateway.port, b"POST /v1/chat/completions HTTP/1.1\r\nHost:")
    slow_body = raw(gateway.port, request(key, LENGTH, body=BODY[:5]))
    silent = raw(gateway.port, b"")

    answers = await asyncio.gather(slow_head, slow_body, silent)

    assert [answer[:13] for answer in answers] == [b"HTTP/1.1 408 ", b"HTTP/1.1 408 ", b""]
    assert error_of(answers[1])["code"] == "request_timeout"
    assert upstream.calls == []


async def test_the_server_lives_on(client: Client, gateway: RunningGateway, key: str) -> None:
    for headers in BROKEN.values():
        await raw(gateway.port, request(key, *headers))
    async with client_of(gateway.url, key) as again:
        assert (await again.chat()).status_code == 200
    assert (await client.chat(stream=True)).status_code == 200
