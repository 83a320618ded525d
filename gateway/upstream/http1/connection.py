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


READ_BYTES = 32 * 1024
"""What is read at once; 256 KB, as uvloop would have it, is too much for each client that stops reading."""

_READ_BUFFER = memoryview(bytearray(READ_BYTES))
"""One for all connections of the process: what was read is copied out before anything else happens."""

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
        "_transport",
        "_unsent",
        "peer",
        "used_at",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, home: Home, peer: str) -> None:
        self._now = loop.time
        self._home = home
        self.peer = peer
        self._parser = ResponseParser()
        self._response: Http1Response | None = None
        self._transport: asyncio.Transport | None = None
        self._unsent = _nothing  # how much of the request is left
        self._socket: asyncio.Transport | None = None  # below TLS, where there is any
        self._is_fresh = True
        self._reading = True
        self._is_closed = False
        self.used_at = 0.0

    def expect_no_body(self) -> None:
        """The next request is HEAD."""
        self._parser.expect_no_body()

    def start(self, response: Http1Response, request: Sequence[bytes]) -> None:
        """Send `request`, in one buffer or more, whose answer goes to `response`."""
        transport = self._transport
        if transport is None or self._response is not None:
            raise RuntimeError("the connection is not idle")
        self._response = response
        if len(request) == 1:
            transport.write(request[0])
        else:
            transport.writelines(request)

    def close(self) -> None:
        """Close in good order. For idle connections."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; a response under way is told that it broke."""
        if self._transport is not None:
            self._transport.abort()

    def give_up(self) -> None:
        """Close a connection whose TLS was not established; the loop does not always tell us that it has."""
        self.abort()
        self.connection_lost(None)

    def abandon(self) -> None:
        """Close at once; the response under way wants to hear nothing of it."""
        self._response = None
        self.abort()

    def set_reading(self, reading: bool) -> None:
        """Read from the socket, or leave it alone so that the upstream has to wait. Idempotent."""
        if reading == self._reading or self._transport is None:
            return
        self._reading = reading
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = self._socket = transport = cast("asyncio.Transport", transport)
        self._unsent = transport.get_write_buffer_size

    def socket(self) -> asyncio.Transport:
        """The connected socket's transport.

        Raises:
            ConnectionResetError: it is closed already.
        """
        if self._socket is None:
            raise ConnectionResetError
        return self._socket

    def secured(self, transport: asyncio.Transport) -> None:
        """TLS is established on the socket."""
        self._transport = transport
        self._unsent = self._unsent_by_both

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the loop's signature
        """Where to read to."""
        return _READ_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """So much was read: bytes of the response under way, or unexpected ones, which end the connection."""
        response = self._response
        if response is None:
            self._home.discard(self)
            self.abort()
            return
        now, parser = self._now, self._parser
        response.last_byte_at = now()
        body = parser.feed(_READ_BUFFER[:nbytes])
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
        self._transport = self._socket = None
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

    def _unsent_by_both(self) -> int:
        """By TLS and by the socket below it."""
        transport, socket = self._transport, self._socket
        if transport is None or socket is None:
            return 0
        return transport.get_write_buffer_size() + socket.get_write_buffer_size()
