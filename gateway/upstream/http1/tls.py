"""TLS between a socket and a connection, by the standard library's `SSLObject`, which does no I/O itself.

The loop's own TLS would serve as well, but costs each answer more: it asks OpenSSL for data until an
exception says that there is none. Here OpenSSL is asked only while bytes are left.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from gateway.upstream.http1.connection import BUFFER, Connection
from gateway.upstream.http1.inbox import Inbox

_RECORD_BYTES = 16 * 1024
"""What a record holds at most (RFC 8446, section 5.1): reading so much leaves nothing behind."""


class TlsSocket(asyncio.BufferedProtocol):
    """The protocol of a socket, and to the connection above it what the socket would be.

    Args:
        inbox: of the transport, for what its sockets bring.
        connection: is told of this socket once the handshake is done.
        context: how to verify the upstream.
        name: the host whose name must be in its certificate.
    """

    __slots__ = (
        "_came",
        "_connection",
        "_error",
        "_handshake",
        "_inbox",
        "_incoming",
        "_is_ended",
        "_is_open",
        "_outgoing",
        "_socket",
        "_tls",
    )

    def __init__(self, inbox: Inbox, connection: Connection, context: ssl.SSLContext, name: str) -> None:
        self._inbox = inbox
        self._connection = connection
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._socket: asyncio.Transport | None = None
        self._handshake: asyncio.Future[None] | None = None  # while it is under way
        self._is_open = False  # the connection was told
        self._came = b""  # decrypted, and not passed on yet
        self._is_ended = False  # TLS, by the other side
        self._error: ssl.SSLError | None = None

    async def handshake(self) -> Connection:
        """The connection, once TLS is established.

        Raises:
            OSError: the upstream closed or reset the socket instead.
            ssl.SSLError: TLS was refused, by either side.
        """
        self._handshake = asyncio.get_running_loop().create_future()
        self._shake()
        try:
            await self._handshake
        except BaseException:  # cancelled, too: whatever the reason, an unfinished handshake leaves no socket
            self.close()
            raise
        finally:
            self._handshake = None
        if self._socket is None:  # closed at the same moment
            raise ConnectionResetError
        self._is_open = True
        self._connection.carried_by(self)
        return self._connection

    # What a connection asks of its socket.

    def write(self, data: bytes) -> None:
        """Send `data`."""
        socket, tls, outgoing = self._socket, self._tls, self._outgoing
        if socket is None:
            return
        try:
            sent = tls.write(data)
            socket.write(outgoing.read())
            if sent < len(data):  # it takes a record at a time (16 KiB)
                rest = memoryview(data)
                while sent < len(data):
                    sent += tls.write(rest[sent:])
                    socket.write(outgoing.read())
        except ssl.SSLError as error:
            self._broke(error)

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Send `parts` as one."""
        self.write(b"".join(parts))

    def get_write_buffer_size(self) -> int:
        """How much is still to be sent, encrypted."""
        return self._socket.get_write_buffer_size() if self._socket is not None else 0

    def pause_reading(self) -> None:
        """Leave the socket alone; what was read from it has been passed on."""
        if self._socket is not None:
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._socket is not None:
            self._socket.resume_reading()

    def close(self) -> None:
        """End TLS and close; the other side's end of TLS need not be waited for (RFC 8446, section 6.1)."""
        socket, self._socket = self._socket, None
        if socket is not None:
            with suppress(ssl.SSLError):  # it would read that end
                self._tls.unwrap()
            socket.write(self._outgoing.read())
            socket.close()

    def abort(self) -> None:
        """Close at once."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.abort()

    # Called by the inbox.

    def pass_on(self) -> None:
        """Give the connection what was decrypted, as though its own socket had brought it."""
        came, self._came = self._came, b""
        if came:
            self._connection.buffer_updated(len(came), came)
        if self._is_ended:
            self._is_ended = False
            self._connection.eof_received()
            self.close()

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._socket = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the loop's signature
        """Where to read to."""
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """So much was read, encrypted."""
        self._incoming.write(BUFFER[:nbytes])
        if self._is_open:
            if self._came:  # there was more to read than a buffer takes
                self.pass_on()
            self._decrypt()
        else:
            self._shake()

    def eof_received(self) -> None:
        """The upstream ended the socket; the loop closes ours. What ends TLS was read before, if it came."""
        self._incoming.write_eof()
        self._shake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, for whatever reason."""
        self._socket = None
        if self._is_open:
            self.pass_on()
            self._connection.connection_lost(self._error or exc)
        elif self._handshake is not None and not self._handshake.done():
            self._handshake.set_exception(exc or ConnectionResetError())

    def _shake(self) -> None:
        """Go on with the handshake, if one is under way, as far as what has come allows."""
        handshake, socket = self._handshake, self._socket
        if handshake is None or handshake.done():
            return
        if socket is None:
            handshake.set_exception(ConnectionResetError())
            return
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            handshake.set_exception(error)
        else:
            handshake.set_result(None)
        socket.write(self._outgoing.read())

    def _decrypt(self) -> None:
        """Take what is there, several records as one."""
        incoming, read = self._incoming, self._tls.read
        came = b""
        try:
            while True:
                record = read(_RECORD_BYTES)
                came = came + record if came else record
                if not record:
                    self._is_ended = True
                    break
                if not incoming.pending:
                    break
        except ssl.SSLWantReadError:  # half a record, or none of the connection's: tickets, new keys
            pass
        except ssl.SSLError as error:
            self._broke(error)
        if came or self._is_ended:
            self._came = came
            self._inbox.enter(self)

    def _broke(self, error: ssl.SSLError) -> None:
        """TLS failed: say so to the other side, and close."""
        self._error = error
        self.close()
