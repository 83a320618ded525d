"""One request and its reply: the body within bounds, a whole reply, or a stream written by callback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import msgspec

from gateway.domain.errors import EncodedBody, GatewayError, RequestTooLarge, SlowBody
from gateway.domain.settable import settable

if TYPE_CHECKING:
    from gateway.edge.head import Head
    from gateway.edge.protocol import GatewayProtocol

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
_KEPT, _CLOSED = b"content-length: %d\r\n\r\n", b"connection: close\r\ncontent-length: %d\r\n\r\n"
_MOST_UNSENT = 16 * 1024
_ENCODED = "The request body must not be compressed: send it without Content-Encoding."
_E = TypeVar("_E", bound=Exception)


Application = Callable[["Exchange"], Coroutine[Any, Any, None]]
"""Serves exchanges, where ASGI's would serve scopes."""


class Reader(Protocol):
    """Whoever feeds a stream and wants to know how its client does."""

    def pause(self) -> None:
        """The client reads too slowly."""

    def resume(self) -> None:
        """The client has caught up."""

    def client_gone(self) -> None:
        """The client left."""


@settable
class Exchange(msgspec.Struct, eq=False):
    """A request and its reply on one connection.

    It stands where uvicorn has its request cycle, with what ASGI cannot say in place of `receive` and `send`:
    bytes of a stream go out from a callback, and a client that leaves or lags is told to `reader` at once.
    A struct, since one is made for each request: its defaults are filled in without Python.

    Args:
        started_at: when the head was complete, monotonic seconds.
        status: of the reply, once it was begun.
        unsent: bytes of a stream that leave at the end of this turn of the loop.
    """

    message_event: ClassVar[asyncio.Event] = asyncio.Event()
    """uvicorn's, for ASGI's `receive`: nobody waits for it."""

    protocol: GatewayProtocol
    transport: asyncio.Transport
    head: Head
    keep_alive: bool
    started_at: float
    body: bytes | bytearray = b""
    more_body: bool = True
    task: asyncio.Task[None] | None = None
    is_body_wanted: bool = False
    too_large: bool = False
    body_error: GatewayError | None = None
    reader: Reader | None = None
    disconnected: bool = False
    status: int = 0
    response_complete: bool = False
    unsent: bytes = b""
    _body_waiter: asyncio.Future[None] | None = None
    _chunked: bool = True

    def over(self) -> None:
        """The application has done all it will; a reply that is not whole by now never will be."""
        self.protocol.tasks.discard(self.task)
        self.body = b""  # an idle connection keeps its last exchange, which may have been a long one
        self.reader = None
        if not self.response_complete and not self.disconnected:
            unsent, self.unsent = self.unsent, b""
            if unsent:
                self.transport.write(unsent)
            self.transport.close()

    # -- the request

    async def receive(self, max_bytes: int, timeout_s: float) -> None:
        """Wait until the body is there, or will never be whole; `whole_body` follows.

        Args:
            max_bytes: a longer one is refused by its stated length.
            timeout_s: how long it may take.

        Raises:
            EncodedBody, RequestTooLarge, SlowBody: after the reply the connection is closed, since what is
                left of the body would be read as the next request.
        """
        fields = self.head.fields
        length = fields.get(b"content-length")
        if length is not None and int(length) > max_bytes:
            raise self._refuse_rest(RequestTooLarge(_too_large(max_bytes)))
        if self.head.is_encoded:
            raise self._refuse_rest(EncodedBody(_ENCODED))
        if fields.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._is_body_awaited:
            self.is_body_wanted = True
            self.protocol.flow.resume_reading()
            await self._body_or_timeout(timeout_s)

    def whole_body(self, max_bytes: int) -> bytes:
        """The body, which has come.

        Raises:
            EncodedBody, RequestTooLarge, InvalidRequest: as above.
        """
        body = self.body
        if self.too_large or len(body) > max_bytes:
            raise self._refuse_rest(RequestTooLarge(_too_large(max_bytes)))
        if self.head.is_encoded:
            raise self._refuse_rest(EncodedBody(_ENCODED))
        if self.body_error is not None:
            raise self.body_error
        return body if isinstance(body, bytes) else bytes(body)

    @property
    def _is_body_awaited(self) -> bool:
        return self.more_body and not (self.too_large or self.disconnected or self.body_error)

    async def _body_or_timeout(self, timeout_s: float) -> None:
        loop = self.protocol.loop
        self._body_waiter = waiter = loop.create_future()
        timer = loop.call_later(timeout_s, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._body_waiter = None
        if self._is_body_awaited:
            raise self._refuse_rest(
                SlowBody(f"The request body did not arrive within {timeout_s:g} seconds.")
            )

    def _refuse_rest(self, error: _E) -> _E:
        if self.more_body:
            self.keep_alive = False
        return error

    def body_event(self) -> None:
        """The protocol's word that the body is complete, too large, or will never come."""
        if self._body_waiter is not None:
            _wake(self._body_waiter)

    # -- the reply

    def reply(self, status: int, headers: bytes, content: bytes) -> None:
        """Send a whole reply, `headers` as lines of its head.

        Nothing happens where the client has left or a reply was begun.
        """
        if self.status or self.disconnected:
            return
        self.status = status
        # With HEAD the content would be the next answer's beginning.
        sent = b"" if self.head.method == "HEAD" else content
        framing = (_KEPT if self.keep_alive else _CLOSED) % len(content)
        protocol = self.protocol
        parts = _STATUS_LINES[status], protocol.default_head(), headers, framing, sent
        self.transport.write(b"".join(parts))
        protocol.replied(self)

    def start_stream(self, headers: bytes, reader: Reader) -> None:
        """Send the head of a stream; `write` and `finish` follow."""
        self.reader = reader
        if self.disconnected:
            reader.client_gone()
            return
        self.status = 200
        if self.head.version == "1.1":
            framing = b"transfer-encoding: chunked\r\n\r\n"
        else:  # HTTP/1.0 knows no chunks: the end of the connection is the end of the body
            self._chunked = False
            self.keep_alive = False
            framing = b"\r\n"
        if not self.keep_alive:
            framing = b"connection: close\r\n" + framing
        self.protocol.outbox.enter(self)
        self.unsent = b"%b%b%b%b" % (_STATUS_LINES[200], self.protocol.default_head(), headers, framing)

    def write(self, data: bytes) -> None:
        """Send bytes of a stream, with this turn's others. A slow client makes `reader` pause its source."""
        if self.disconnected:
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self.unsent:
            data = self.unsent + data
        else:
            self.protocol.outbox.enter(self)
        if len(data) > _MOST_UNSENT:  # at once, so that a client that lags is noticed at once
            self.unsent = b""
            self.transport.write(data)
        else:
            self.unsent = data

    def finish(self, last: bytes = b"") -> None:
        """Send the last bytes of a stream and end its body."""
        self.reader = None
        if self.disconnected or self.response_complete:
            return
        if self._chunked:
            last = b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if last else b"0\r\n\r\n"
        last, self.unsent = self.unsent + last, b""
        if last:
            self.transport.write(last)
        self.protocol.replied(self)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _too_large(max_bytes: int) -> str:
    return f"The request body is larger than {max_bytes} bytes."
