"""A client that reads what comes of a call, strictly: how it ended, and how long it took."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import urlsplit

PATIENCE_S = 10.0
_LINE_END = re.compile(rb"\r\n|\r|\n")
_FIELDS = (b"data:", b"event:", b":")

Ended = Literal["json", "done", "error", "unclean", "cut", "hang"]


@dataclass(frozen=True)
class Seen:
    """What came of a call. `moved_on`: its first target did not serve.

    `ended` is "json" for a whole JSON reply, "done" and "error" for a stream that ends as it should,
    "unclean" for one that does not, "cut" where the connection broke, and "hang" where nothing came for long.
    """

    status: int
    ended: Ended
    took_s: float
    moved_on: bool = False


class Caller:
    """Calls one after the other, over a connection of its own that is made again where it was closed."""

    def __init__(self, url: str, key: str) -> None:
        where = urlsplit(url)
        self._address = (where.hostname, where.port)
        self._key = key
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    async def call(self, path: str, body: bytes) -> Seen:
        """One call."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._address, limit=1 << 20)
        assert self._reader is not None
        began = time.perf_counter()
        head = f"POST {path} HTTP/1.1\r\nhost: chaos\r\nauthorization: Bearer {self._key}\r\n"
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status, ended, moved_on = 0, "cut", False
        try:
            async with asyncio.timeout(PATIENCE_S):
                lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
                status = int(lines[0].removeprefix("http/1.1 ")[:3])
                fields = dict(line.split(": ", 1) for line in lines[1:] if line)
                moved_on = fields.get("x-tunegate-fallback", "none") != "none"
                ended = await self._read_body(self._reader, fields)
        except (OSError, asyncio.IncompleteReadError):
            self._close()
        except TimeoutError:
            ended = "hang"
            self._close()
        else:
            if fields.get("connection") == "close":
                self._close()
        return Seen(status, ended, time.perf_counter() - began, moved_on)

    async def _read_body(self, reader: asyncio.StreamReader, fields: dict[str, str]) -> Ended:
        if "content-length" in fields:
            json.loads(await reader.readexactly(int(fields["content-length"])))
            return "json"
        data = bytearray()
        while size := int(await reader.readuntil(b"\r\n"), 16):
            data += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return _end_of(bytes(data))

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            self._reader = self._writer = None


def _end_of(data: bytes) -> Ended:
    """How a stream ended; "unclean" where a line is no field, or `[DONE]` is not the end."""
    lines = _LINE_END.split(data)
    if lines[-2:] != [b"", b""] or not all(line.startswith(_FIELDS) for line in lines if line):
        return "unclean"
    said = [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]
    if b"[DONE]" in said[:-1]:
        return "unclean"
    if said[-1:] == [b"[DONE]"]:
        return "done"
    return "error" if said and _is_error(said[-1]) else "unclean"


def _is_error(data: bytes) -> bool:
    try:
        document = json.loads(data)
    except ValueError:
        return False
    return isinstance(document, dict) and set(document.get("error", ())) == {
        "message",
        "type",
        "param",
        "code",
    }
