"""One socket to an upstream: bytes in, parsed and passed on at once, one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.http1.response import Http1Response
from gateway.upstream.http1.response_parser import ResponseParser


class Home(Protocol):
    """Where connections come from and go back to."""

    def release(self, connection: Connection) -> None:
        """The connection is free for another request."""

    def discard(self, connection: Connection) -> None:
        """The connection must not be taken any more."""

    def lost(self, connection: Connection) -> None:
        """The socket is closed."""


class Socket(Protocol):
    """What carries a connection: the loop's transport, or `TlsSocket` upon it."""

    def write(self, data: bytes) -> None:
        """Send `data`."""

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Send `parts`."""

    def get_write_buffer_size(self) -> int:
        """How much is still to be sent."""
        ...

    def pause_reading(self) -> None:
        """Stop reading."""

    def resume_reading(self) -> None:
        """Read again."""

    def close(self) -> None:
        """Close in good order."""

    def abort(self) -> None:
        """Close at once."""


READ_BYTES = 32 * 1024
"""What is read at once; 256 KB, as uvloop would have it, is too much for each client that stops reading."""

BUFFER = memoryview(bytearray(READ_BYTES))
"""One for all connections of the process: what was read is copied out before anything else happens."""

_SUGGESTED_BYTES = 64 * 1024  # by libuv, always
_USUAL_BYTES = 2048


class _Room(dict[int, memoryview]):
    """Where to read to, whatever is suggested: a look-up, since the loop asks before each read."""

    def __missing__(self, suggested: int) -> memoryview:
        return BUFFER


class _Views(dict[int, memoryview]):
    """So many bytes of the buffer. Those of usual sizes are kept: a chunk is read without making one."""

    def __missing__(self, nbytes: int) -> memoryview:
        view = BUFFER[:nbytes]
        if nbytes <= _USUAL_BYTES:
            self[nbytes] = view
        return view


_views = _Views()

_nothing: Callable[[], int] = int  # which is 0 when called


class Connection(asyncio.BufferedProtocol):
    """A connection, idle unless a response is expected on it.

    The loop calls it within the context variables of the call that opened it, so neither this class nor a
    sink may rely on them.
    """

    __slots__ = (
        "_home",
        "_is_closed",
        "_is_fresh",
        "_now",
        "_parser",
        "_reading",
        "_response",
        "_socket",
        "_unsent",
        "peer",
        "used_at",
    )

    get_buffer = _Room({_SUGGESTED_BYTES: BUFFER}).__getitem__  # type: ignore[assignment]  # a look-up in place of a frame

    def __init__(self, loop: asyncio.AbstractEventLoop, home: Home, peer: str) -> None:
        self._now = loop.time
        self._home = home
        self.peer = peer
        self._parser = ResponseParser()
        self._response: Http1Response | None = None
        self._socket: Socket | None = None
        self._unsent = _nothing  # how much of the request is left
        self._is_fresh = True
        self._reading = True
        self._is_closed = False
        self.used_at = 0.0

    def expect_no_body(self) -> None:
        """The next request is HEAD."""
        self._parser.expect_no_body()

    def start(self, response: Http1Response, request: Sequence[bytes]) -> None:
        """Send `request`, in one buffer or more, whose answer goes to `response`."""
        socket = self._socket
        if socket is None or self._response is not None:
            raise RuntimeError("the connection is not idle")
        self._response = response
        if len(request) == 1:
            socket.write(request[0])
        else:
            socket.writelines(request)

    def close(self) -> None:
        """Close in good order. For idle connections."""
        if self._socket is not None:
            self._socket.close()

    def abort(self) -> None:
        """Close at once; a response under way is told that it broke."""
        if self._socket is not None:
            self._socket.abort()

    def abandon(self) -> None:
        """Close at once; the response under way wants to hear nothing of it."""
        self._response = None
        self.abort()

    def set_reading(self, reading: bool) -> None:
        """Read from the socket, or leave it alone so that the upstream has to wait. Idempotent."""
        if reading == self._reading or self._socket is None:
            return
        self._reading = reading
        if reading:
            self._socket.resume_reading()
        else:
            self._socket.pause_reading()

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected, and nothing stands in between."""
        self.carried_by(cast("asyncio.Transport", transport))

    def carried_by(self, socket: Socket) -> None:
        """What is sent goes to `socket`, from now on."""
        self._socket = socket
        self._unsent = socket.get_write_buffer_size

    def buffer_updated(self, nbytes: int, data: bytes | None = None) -> None:
        """So much was read: bytes of the response under way, or unexpected ones, which end the connection.

        They are `data` where they do not stand in the buffer.
        """
        response = self._response
        if response is None:
            self._home.discard(self)
            self.abort()
            return
        now, parser = self._now, self._parser
        response.last_byte_at = now()
        body = parser.feed(_views[nbytes] if data is None else data)
        sink = response.sink
        if sink is None:
            response.arrived(parser, body)
        elif body:
            sink.data(body)
        if (parser.complete or parser.error is not None) and self._response is response:
            self._finish(response)

    def eof_received(self) -> None:
        """The upstream ended its side; the loop closes ours. Only a body without framing ends well by it."""
        self._home.discard(self)
        response = self._response
        if response is not None:
            self._parser.eof()
            if self._parser.complete:
                self._finish(response)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, for whatever reason."""
        if self._is_closed:
            return
        self._is_closed = True
        self._socket = None
        self._unsent = _nothing
        self._home.lost(self)
        has_begun = self._parser.has_begun
        self._parser.release()
        response, self._response = self._response, None
        if response is None:
            return
        cause = "reset the connection" if isinstance(exc, OSError) else "closed the connection"
        if response.status:
            reason = f"{self.peer} {cause} before its answer was complete"
            response.broke(AttemptFailed(FailureClass.BAD_RESPONSE, reason))
        else:
            response.stale = not self._is_fresh and not has_begun
            response.broke(AttemptFailed(FailureClass.CONNECT, f"{self.peer} {cause} before it answered"))

    def _finish(self, response: Http1Response) -> None:
        """The response is complete or broken: let go of it first, so that its sink may already send again."""
        parser = self._parser
        self._response = None
        if parser.error is not None:
            self.abort()
            reason = f"{self.peer} sent what is not HTTP/1.1: {parser.error}"
            response.broke(AttemptFailed(FailureClass.BAD_RESPONSE, reason))
            return
        # An upstream may answer before it has read all of the request.
        if not self._is_closed and not self._unsent() and parser.renew():
            self._is_fresh = False
            self.used_at = response.last_byte_at
            if not self._reading:
                self.set_reading(True)
            self._home.release(self)
        else:
            self.abort()
        response.ended()
