"""A client that sees every byte: one request on one connection, and what came back, when and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 40.0
HI = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Seen:
    """One answer as its client saw it.

    Args:
        status: None where the connection ended without an answer.
        body: without the chunked coding.
        is_whole: it ended as its framing says, not by a broken connection.
        took_s: from the request's first byte to the end.
    """

    status: int | None
    headers: dict[str, str]
    body: bytes
    is_whole: bool
    took_s: float

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def frames(self) -> list[bytes]:
        """The frames of a stream, comments left out; each is exactly one event."""
        return [frame for frame in self.body.split(b"\n\n") if frame and not frame.startswith(b":")]

    @property
    def events(self) -> list[Any]:
        """Its JSON events. A frame that official clients could not read fails the case."""
        found = []
        for frame in self.frames:
            lines = frame.split(b"\n")
            assert all(line.startswith(b"data: ") for line in lines), frame[:200]
            text = b"\n".join(line.removeprefix(b"data: ") for line in lines)
            if text != b"[DONE]":
                found.append(json.loads(text))
        return found

    @property
    def has_done(self) -> bool:
        """`[DONE]` came, once and last."""
        return self.body.endswith(b"data: [DONE]\n\n") and self.body.count(b"data: [DONE]") == 1

    @property
    def error(self) -> dict[str, Any] | None:
        """The error object of the answer, in its body or as the last event of its stream."""
        if self.is_stream:
            events = self.events
            found = events[-1].get("error") if events else None
        else:
            found = json.loads(self.body).get("error") if self.body else None
        assert found is None or set(found) == {"message", "type", "param", "code"}, found
        return found

    @property
    def text(self) -> str:
        """What the model wrote."""
        if not self.is_stream:
            document = json.loads(self.body)
            return str(document["choices"][0]["message"]["content"])
        choices = [choice for event in self.events for choice in event.get("choices", ())]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


def chat_body(model: str, **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": HI} | fields).encode()


def request_bytes(key: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A chat completion as it stands on the wire; the connection ends with it."""
    given = {
        "Host": "gateway",
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    } | (headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return b"POST /v1/chat/completions HTTP/1.1\r\n" + head.encode() + b"\r\n" + body


class Line:
    """One connection to a gateway, read and written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._received = bytearray()
        self._began = time.monotonic()

    @classmethod
    async def to(cls, url: str, *, receive_buffer: int | None = None) -> Line:
        """Args: receive_buffer: bytes that the kernel takes from the gateway before this client reads."""
        target = urlsplit(url)
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, (target.hostname, target.port))
        limit = receive_buffer or 1 << 16
        return cls(*await asyncio.open_connection(sock=sock, limit=limit))

    def __del__(self) -> None:
        """A client that is given up in the middle of a call leaves nothing open."""
        with contextlib.suppress(RuntimeError):  # its loop has ended too
            self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self._began = time.monotonic()
        self._writer.write(data)
        await self._writer.drain()

    async def until(self, expected: bytes) -> None:
        """Read until these bytes have come."""
        async with asyncio.timeout(PATIENCE_S):
            while expected not in self._received:
                data = await self._reader.read(65536)
                assert data, f"ended before {expected!r}: {bytes(self._received[-300:])!r}"
                self._received += data

    async def rest(self) -> Seen:
        """Read to the end."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while data := await self._reader.read(65536):
                    self._received += data
        self._writer.close()
        return seen_in(bytes(self._received), time.monotonic() - self._began)

    def so_far(self) -> Seen:
        return seen_in(bytes(self._received), time.monotonic() - self._began)

    def forget(self) -> None:
        """What has come so far belonged to another answer."""
        self._received.clear()

    def half_close(self) -> None:
        """Say that no more is sent."""
        self._writer.write_eof()

    def leave(self) -> None:
        """Close, whatever is still to come."""
        self._writer.transport.abort()


def seen_in(received: bytes, took_s: float) -> Seen:
    """The answer in these bytes; the gateway closes behind it."""
    head, found, rest = received.partition(b"\r\n\r\n")
    if not found:
        return Seen(None, {}, b"", is_whole=False, took_s=took_s)
    lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        body, is_whole = _unchunked(rest)
    else:
        body, is_whole = rest, len(rest) == int(headers.get("content-length", -1))
    return Seen(int(lines[0].split(" ")[1]), headers, body, is_whole, took_s)


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    position = 0
    while (end := data.find(b"\r\n", position)) >= 0:
        size = int(data[position:end], 16)
        if size == 0:
            return b"".join(parts), data[end:] == b"\r\n\r\n"
        parts.append(data[end + 2 : end + 2 + size])
        position = end + 2 + size + 2
    return b"".join(parts), False


async def ask(url: str, request: bytes) -> Seen:
    """Send it and read to the end."""
    try:
        line = await Line.to(url)
        await line.send(request)
    except ConnectionError:
        return Seen(None, {}, b"", is_whole=False, took_s=0.0)
    return await line.rest()
