"""Calls of a gateway that cost the same each time, and what they cost, counted.

A scripted upstream and a bare client, so that nothing is in the figures but the gateway.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import msgspec

import gateway
from tests.support.gateway import RunningGateway

ROOT = Path(gateway.__file__).parent
LIMITS = {"rpm": 1_000_000, "tpm": 100_000_000, "concurrency": 1000}
"""Of a key for which all limits are looked at and none is met."""

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
        self.transport = transport  # type: ignore[assignment]  # a stream has one of these

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


@contextmanager
def watched(counts: Counter[str], step_of: Callable[[str], str] = lambda _: "frames") -> Iterator[None]:
    """Count frames of the gateway's code (by `step_of` their file), parses of JSON, and tasks, from nothing.

    Args:
        counts: cleared first.
        step_of: what a frame counts as, by its file's path below `gateway/`.
    """
    root = f"{ROOT}/"

    def watch(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            if file.startswith(root):
                counts[step_of(file[len(root) :])] += 1
        elif event == "c_call" and arg.__name__ == "decode":
            counts["parses"] += isinstance(arg.__self__, msgspec.json.Decoder)

    class Counted(asyncio.Task[Any]):
        def __init__(self, coro: Any, **named: Any) -> None:
            counts["tasks"] += 1
            super().__init__(coro, **named)

    loop = asyncio.get_running_loop()
    counts.clear()
    loop.set_task_factory(lambda loop, coro, **named: Counted(coro, loop=loop, **named))
    sys.setprofile(watch)
    try:
        with mock.patch.object(asyncio, "Task", Counted):  # some are made without asking the loop
            yield
    finally:
        sys.setprofile(None)
        loop.set_task_factory(None)


async def ask(gateway: RunningGateway, key: str, times: int, **fields: Any) -> None:
    """Make calls on one connection, one after another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1 << 24)
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
