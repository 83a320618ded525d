"""What a request and a chunk cost, by counts, which no busy machine moves: whoever makes them dearer sees it.

Most figures are exact; of frames a request has a few to spare. Raise one on purpose, or not at all.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

import gateway
from gateway.edge.protocol import GatewayProtocol
from gateway.store.wire import Wire
from gateway.upstream.http1.connection import Connection
from tests.integration.dataplane.conftest import StartGateway
from tests.support.gateway import RunningGateway

ROOT = str(Path(gateway.__file__).parent)
WARM_UP, REQUESTS = 20, 50
CHUNKS = 200
LIMITS = {"rpm": 1_000_000, "tpm": 100_000_000, "concurrency": 1000}  # all are there, and none is met

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "mock",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}
    data = b"data: %b\n\n" % msgspec.json.encode(event)
    return b"%x\r\n%b\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """Answers each request: a stream a piece at a time, or the one reply."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        assert b"content-length: %d" % len(body) in head.lower()  # it came whole
        asked = json.loads(body)
        if not asked.get("stream"):
            reply = msgspec.json.encode(REPLY)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: r\r\n"
            self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(reply), reply))
            return
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        self.pieces = iter([chunk({"content": " hello"})] * asked["max_tokens"] + [chunk({}, "stop")])
        self.go_on()

    def go_on(self) -> None:
        piece = next(self.pieces, None)
        if piece is not None:
            self.transport.write(piece)
            asyncio.get_running_loop().call_later(0.001, self.go_on)
        else:
            usage = b'data: {"choices":[],"usage":%b}\n\ndata: [DONE]\n\n' % msgspec.json.encode(
                REPLY["usage"]
            )
            self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(usage), usage))


class Counted:
    """A transport that counts writes."""

    def __init__(self, transport: Any, counts: Counter[str]) -> None:
        self.transport = transport
        self.counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        self.counts["writes"] += 1
        self.transport.write(data)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts each write to a client, an upstream or the store from now on, and more while `counting`."""
    counts: Counter[str] = Counter()

    def count_writes(protocol: type[Any]) -> None:
        made = protocol.connection_made

        def connection_made(self: Any, transport: Any) -> None:
            made(self, Counted(transport, counts))

        monkeypatch.setattr(protocol, "connection_made", connection_made)

    for protocol in (GatewayProtocol, Connection, Wire):
        count_writes(protocol)
    return counts


@pytest.fixture
async def served(
    counts: Counter[str],  # it counts before anything is connected
    start_gateway: StartGateway,
) -> AsyncIterator[RunningGateway]:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway = await start_gateway(
        {"only": {"base_url": f"http://127.0.0.1:{port}/v1"}},
        {"support": {"model": "mock", "fallbacks": ["mock-2"]}},
    )
    yield gateway
    server.close()


@contextmanager
def counting(counts: Counter[str]) -> Iterator[None]:
    """Count frames of the gateway's code, parses of JSON, and tasks, from nothing."""

    def watch(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            counts["frames"] += frame.f_code.co_filename.startswith(ROOT)
        elif event == "c_call" and arg.__name__ == "decode":
            counts["parses"] += isinstance(arg.__self__, msgspec.json.Decoder)

    def make(loop: asyncio.AbstractEventLoop, coro: Any, **named: Any) -> asyncio.Task[Any]:
        counts["tasks"] += 1
        return asyncio.Task(coro, loop=loop, **named)

    loop = asyncio.get_running_loop()
    counts.clear()
    loop.set_task_factory(make)
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(None)
        loop.set_task_factory(None)


async def ask(gateway: RunningGateway, key: str, times: int, **fields: Any) -> None:
    """Make calls on one connection, one after another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = msgspec.json.encode(
        {"model": "support", "messages": [{"role": "user", "content": "Hello"}], **fields}
    )
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    for _ in range(times):
        writer.write(request)
        reply = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in reply
        if fields.get("stream"):
            await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            lines = reply.lower().split(b"\r\n")
            length = next(line for line in lines if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
    writer.close()
    await writer.wait_closed()


async def test_a_json_request(served: RunningGateway, counts: Counter[str]) -> None:
    key = await served.new_key(limits=LIMITS)
    await ask(served, key, WARM_UP)

    with counting(counts):
        await ask(served, key, REQUESTS)

    assert counts["tasks"] <= REQUESTS + 1  # one for each, and a look at the key's record
    assert counts["parses"] == 3 * REQUESTS  # the body's fields, the model's name, the reply
    beats = 3  # the worker tells the store each few seconds that it lives, whatever it serves
    assert counts["writes"] <= 4 * REQUESTS + beats  # the admission, the request, the settlement, the reply
    assert counts["frames"] / REQUESTS < 300


async def test_a_chunk(served: RunningGateway, counts: Counter[str]) -> None:
    key = await served.new_key(limits=LIMITS)
    await ask(served, key, WARM_UP)
    with counting(counts):
        await ask(served, key, 1, stream=True, max_tokens=20)
    short = counts.copy()

    with counting(counts):
        await ask(served, key, 1, stream=True, max_tokens=20 + CHUNKS)

    assert short["frames"] < 650  # of the stream itself
    more = {name: count - short[name] for name, count in counts.items()}
    assert more["frames"] < 9.5 * CHUNKS
    assert more["writes"] < 1.1 * CHUNKS
    assert max(more["parses"], more["tasks"]) < 5


async def test_what_a_request_leaves(served: RunningGateway) -> None:
    key = await served.new_key(limits=LIMITS)
    await ask(served, key, 500)
    gc.collect()
    before = sys.getallocatedblocks()

    await ask(served, key, 500)

    gc.collect()
    assert sys.getallocatedblocks() - before < 500  # not one for each
