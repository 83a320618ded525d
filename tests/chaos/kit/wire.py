"""A client that costs little, so that the load is the gateway's and not its own: one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Answer:
    """What came of a call. `is_whole`: a JSON body to its end, or a stream to its `[DONE]`."""

    status: int
    is_whole: bool
    code: str | None = None
    retry_after_s: float = 0.0


def request(key: str, directive: str, *, stream: bool = False, model: str = "plain") -> bytes:
    """A call that asks `plain_upstream` for something."""
    message = {"role": "user", "content": directive}
    body = json.dumps({"model": model, "messages": [message], "stream": stream}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: chaos\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Wire:
    """A connection. `is_open` is False where the gateway said that it takes no more calls on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.is_open = True

    @classmethod
    async def connect(cls, url: str, receive_buffer: int | None = None) -> Wire:
        """Connect; with a small `receive_buffer` the kernel reads little for a client that does not."""
        where = urlsplit(url)
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (where.hostname, where.port))
            return cls(*await asyncio.open_connection(sock=sock, limit=1 << 20))
        except BaseException:  # cancelled, too: no connection is left open
            sock.close()
            raise

    def __del__(self) -> None:
        """A client that is given up in the middle of a call leaves nothing open."""
        with contextlib.suppress(RuntimeError):  # its loop has ended too
            self._writer.transport.abort()

    def send(self, content: bytes) -> None:
        self._writer.write(content)

    def abort(self) -> None:
        self._writer.transport.abort()

    def stop_reading(self) -> None:
        """Read nothing more, not even into this process."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport can

    async def call(self, content: bytes) -> Answer:
        """Send a call and read its answer.

        Raises:
            OSError, asyncio.IncompleteReadError: the connection broke before its answer was there.
        """
        self.send(content)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        self.is_open = "\r\nconnection: close\r\n" not in head
        status = int(head.split(" ", 2)[1])
        _, _, length = head.partition("content-length: ")
        if length:
            body = await self._reader.readexactly(int(length.partition("\r\n")[0]))
            if status == 200:
                return Answer(status, True)
            _, _, wait_ms = head.partition("retry-after-ms: ")
            wait_s = int(wait_ms.partition("\r\n")[0]) / 1000 if wait_ms else 0.0
            return Answer(status, True, json.loads(body)["error"]["code"], wait_s)
        last = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            last = (last + await self._reader.readexactly(size))[-len(DONE) :]
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return Answer(status, last == DONE)

    async def closed(self) -> None:
        """Read on until the connection ends, however."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        try:
            while await self._reader.read(1 << 20):
                pass
        except OSError:
            pass
