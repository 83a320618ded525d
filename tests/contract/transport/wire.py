"""Requests, answers and sinks of the conformance suite."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.domain.errors import AttemptFailed
from gateway.upstream.port import Origin, RequestHead, Timeouts, UpstreamRequest
from tests.support.scripted_server import Peer, Script

PATIENT = Timeouts(connect_s=5, first_token_s=5, idle_s=5)
HEADERS = ((b"authorization", b"Bearer sk-secret"), (b"content-type", b"application/json"))


def post(origin: Origin, body: bytes = b"{}", timeouts: Timeouts = PATIENT, **fields: Any) -> UpstreamRequest:
    head = {"method": "POST", "target": "/v1/chat/completions", "headers": HEADERS} | fields
    return UpstreamRequest(RequestHead(origin, **head), body, timeouts)


def answer(body: bytes = b"ok", *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole answer with a length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers, b"", body]
    return b"\r\n".join(lines)


def chunked(*chunks: bytes) -> bytes:
    """A body in chunks, without the last one."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def answering(*answers: bytes) -> Script:
    """Answer as many requests, then wait for the client to leave."""

    async def script(peer: Peer) -> None:
        for wire in answers:
            await peer.request()
            await peer.send(wire)
        await peer.gone()

    return script


class Recorder:
    """A sink that remembers, and checks the rule of a sink: any data, then one end."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.outcome: str | AttemptFailed | None = None
        self.finished = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def data(self, chunk: bytes) -> None:
        assert self.outcome is None, "data after the end"
        assert chunk, "an empty piece"
        self.pieces.append(chunk)

    def end(self) -> None:
        self._finish("end")

    def fail(self, error: Exception) -> None:
        assert isinstance(error, AttemptFailed)
        self._finish(error)

    def _finish(self, outcome: str | AttemptFailed) -> None:
        assert self.outcome is None, "a second end"
        self.outcome = outcome
        self.finished.set()

    async def wait(self) -> str | AttemptFailed | None:
        await asyncio.wait_for(self.finished.wait(), 5)
        return self.outcome
