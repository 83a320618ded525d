"""A fake upstream, scripted like a conversation, on a real socket.

    upstream.plays("m", text("Hel"), text("lo"), drop())

Each script answers one call of a model; a model without a script gets a plain answer. What was received
stands in `calls`. Steps are bytes to send, or one of `drop`, `stall`, `until`, `paced`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

CHUNK_ID = "chatcmpl-fake"


def event(document: dict[str, Any]) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **extra: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return event(
        {
            "id": CHUNK_ID,
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "fake",
            "choices": [choice],
        }
        | extra
    )


def role() -> bytes:
    return chunk({"role": "assistant", "content": ""})


def text(content: str) -> bytes:
    return chunk({"content": content})


def finish(reason: str = "stop", index: int = 0) -> bytes:
    return chunk({}, reason, index)


def usage(prompt: int = 7, completion: int = 2) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return event({"id": CHUNK_ID, "object": "chat.completion.chunk", "choices": [], "usage": counts})


def done() -> bytes:
    return b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Drop:
    """Reset the connection."""


@dataclass(frozen=True)
class Stall:
    """Send nothing more until the gateway closes."""


@dataclass(frozen=True)
class Until:
    """Go on when the test says so."""

    event: asyncio.Event


@dataclass(frozen=True)
class OneByteAtATime:
    """Send everything behind this byte for byte."""


Step = bytes | Drop | Stall | Until | OneByteAtATime


def drop() -> Drop:
    return Drop()


def stall() -> Stall:
    return Stall()


def until(happened: asyncio.Event) -> Until:
    return Until(happened)


@dataclass
class ReceivedCall:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class _Script:
    status: int
    headers: dict[str, str]
    steps: tuple[Step, ...]


class FakeUpstream:
    """Speaks just enough of the official API. Start it with `running_upstream`."""

    def __init__(self) -> None:
        self.calls: list[ReceivedCall] = []
        self.models: list[dict[str, Any]] = []
        self.url = ""
        self._scripts: dict[str, deque[_Script]] = defaultdict(deque)
        self._tasks: set[asyncio.Task[None]] = set()
        self.open_connections = 0

    def plays(
        self, model: str, *steps: Step, status: int = 200, content_type: str = "text/event-stream"
    ) -> None:
        """Answer the next call of `model` with a body of these steps."""
        self._scripts[model].append(_Script(status, {"content-type": content_type}, steps))

    def answers(
        self, model: str, body: Any, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """Answer the next call of `model` with a whole JSON body (bytes are sent as they are)."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json"} | (headers or {})
        self._scripts[model].append(_Script(status, given, (content,)))

    def refuses(
        self,
        model: str,
        status: int,
        code: str | None = None,
        message: str = "No.",
        *,
        times: int = 1,
        headers: dict[str, str] | None = None,
        **error: Any,
    ) -> None:
        """Answer the next `times` calls of `model` with an error in the official shape."""
        body = {"message": message, "type": "invalid_request_error", "param": None, "code": code} | error
        for _ in range(times):
            self.answers(model, {"error": body}, status, headers)

    def calls_of(self, model: str) -> list[ReceivedCall]:
        return [call for call in self.calls if call.method == "POST" and call.json.get("model") == model]

    # -- the server

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        return server

    async def stop(self, server: asyncio.Server) -> None:
        server.close()
        await asyncio.sleep(0)  # what was just accepted begins, so that it is ended in its own way
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open_connections += 1
        try:
            while (call := await _read(reader)) is not None:
                self.calls.append(call)
                if not await self._answer(call, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the end of this connection, from either side
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.close()

    async def _answer(
        self, call: ReceivedCall, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        script = self._script_for(call)
        head = f"HTTP/1.1 {script.status} X\r\nx-request-id: req_upstream\r\ntransfer-encoding: chunked\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in script.headers.items())
        writer.write(head.encode() + b"\r\n")
        watching = asyncio.create_task(_watch(reader, call))
        try:
            return await self._play(script.steps, writer, call)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def _script_for(self, call: ReceivedCall) -> _Script:
        """What the call is answered with."""
        if call.method == "GET":
            return _Script(200, {"content-type": "application/json"}, (_models(self.models),))
        asked = call.json
        waiting = self._scripts[str(asked.get("model"))]
        return waiting.popleft() if waiting else _plain(call.path, asked)

    async def _play(self, steps: tuple[Step, ...], writer: asyncio.StreamWriter, call: ReceivedCall) -> bool:
        slowly = False
        for step in steps:
            if isinstance(step, Drop):
                await writer.drain()
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return False
            if isinstance(step, Stall):
                await call.closed.wait()
                return False
            if isinstance(step, Until):
                await step.event.wait()
            elif isinstance(step, OneByteAtATime):
                slowly = True
            elif slowly:
                for byte in step:
                    writer.write(b"1\r\n" + bytes([byte]) + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0)
            elif step:
                writer.write(b"%x\r\n%b\r\n" % (len(step), step))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _watch(reader: asyncio.StreamReader, call: ReceivedCall) -> None:
    """Notice that the gateway closes; nothing else may come while an answer is on its way."""
    try:
        if not await reader.read(1):
            call.closed.set()
    except ConnectionError:
        call.closed.set()


async def _read(reader: asyncio.StreamReader) -> ReceivedCall | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = line.split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return ReceivedCall(method, path, headers, body)


def _models(models: list[dict[str, Any]]) -> bytes:
    return json.dumps({"object": "list", "data": models}).encode()


def _plain(path: str, asked: dict[str, Any]) -> _Script:
    if asked.get("stream"):
        steps = (role(), text("Hel"), text("lo"), finish())
        if (asked.get("stream_options") or {}).get("include_usage"):
            steps += (usage(),)
        return _Script(200, {"content-type": "text/event-stream"}, (*steps, done()))
    if path.endswith("/embeddings"):
        body: dict[str, Any] = {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
            "model": asked["model"],
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
    else:
        message = {"role": "assistant", "content": "Hello", "refusal": None}
        choice = {"index": 0, "message": message, "text": "Hello", "finish_reason": "stop", "logprobs": None}
        body = {
            "id": CHUNK_ID,
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": [choice],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
        }
    return _Script(200, {"content-type": "application/json"}, (json.dumps(body).encode(),))


@asynccontextmanager
async def running_upstream() -> AsyncIterator[FakeUpstream]:
    """A fake upstream on a port of the kernel's choice."""
    upstream = FakeUpstream()
    server = await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop(server)
