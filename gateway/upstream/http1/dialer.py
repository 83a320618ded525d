"""Opening a connection: name, address, socket, TLS, all within one bound of time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.http1.connection import Connection
from gateway.upstream.http1.inbox import Inbox
from gateway.upstream.http1.tls import TlsSocket
from gateway.upstream.port import Origin
from gateway.upstream.resolver import Resolver

_LEAST_SHARE_S = 1.0  # for one address of several, so that many addresses do not leave each too little

_Made = TypeVar("_Made", bound=asyncio.BaseProtocol)


class Dialer:
    """Opens connections for one transport.

    Args:
        loop: the event loop.
        ssl_context: for "https"; by default the system's authorities (`SSL_CERT_FILE` adds to them).
    """

    __slots__ = ("_inbox", "_loop", "_resolver", "_ssl_context")

    def __init__(self, loop: asyncio.AbstractEventLoop, ssl_context: ssl.SSLContext | None) -> None:
        self._loop = loop
        self._inbox = Inbox(loop)
        self._resolver = Resolver()
        self._ssl_context = ssl_context

    async def dial(self, origin: Origin, make: Callable[[], Connection], connect_s: float) -> Connection:
        """A connection to `origin`, ready for a request.

        Raises:
            AttemptFailed: `connect` for an unknown name, a refused address, a refused or reset connection and
                failed TLS; `timeout` when all of it together takes longer than `connect_s`.
        """
        peer = describe(origin)
        try:
            async with asyncio.timeout(connect_s) as bound:
                if origin.scheme == "unix":
                    _, connection = await self._loop.create_unix_connection(make, origin.host)
                    return connection
                until = bound.when() or 0.0
                if origin.scheme == "http":
                    return await self._connect(origin, make, until)
                secured = await self._connect(origin, lambda: self._above_tls(origin, make()), until)
                return await secured.handshake()
        except TimeoutError as error:
            if not bound.expired():  # the system's own, shorter bound (ETIMEDOUT) is a failure to connect
                raise AttemptFailed(FailureClass.CONNECT, f"cannot connect to {peer}: timed out") from error
            reason = f"no connection to {peer} within {connect_s:g} s (connect_s)"
            raise AttemptFailed(FailureClass.TIMEOUT, reason) from error
        except ssl.SSLError as error:
            raise AttemptFailed(FailureClass.CONNECT, f"TLS with {peer} failed: {why_tls(error)}") from error
        except OSError as error:
            raise AttemptFailed(FailureClass.CONNECT, f"cannot connect to {peer}: {why(error)}") from error

    def close(self) -> None:
        """Open no more connections: what is being looked up is given up."""
        self._resolver.close()

    async def _connect(self, origin: Origin, make: Callable[[], _Made], deadline: float) -> _Made:
        """Try the addresses in order, each for a share of the time left, so that a dead one costs no more."""
        found = await self._resolver.resolve(self._loop, origin)
        for left, address in zip(range(len(found), 0, -1), found, strict=True):
            remaining_s = deadline - self._loop.time()
            share_s = max(remaining_s / left, min(_LEAST_SHARE_S, remaining_s / 2)) if left > 1 else None
            try:
                async with asyncio.timeout(share_s):
                    _, connected = await self._loop.create_connection(make, address, origin.port)
            except OSError:  # TimeoutError is one
                if left == 1:
                    raise
            else:
                return connected
        raise AssertionError("a resolved name has an address")  # pragma: no cover

    def _above_tls(self, origin: Origin, connection: Connection) -> TlsSocket:
        if self._ssl_context is None:
            self._ssl_context = default_ssl_context()
        return TlsSocket(self._inbox, connection, self._ssl_context, origin.host.rstrip("."))


def default_ssl_context() -> ssl.SSLContext:
    """Verifies certificate and name against the system's authorities; speaks HTTP/1.1."""
    context = ssl.create_default_context()
    context.options |= ssl.OP_NO_RENEGOTIATION  # TLS 1.2 alone has it; a write would have to wait for it
    context.set_alpn_protocols(["http/1.1"])
    return context


def describe(origin: Origin) -> str:
    """The origin for messages: `host:port`, or the socket's path."""
    return origin.host if origin.scheme == "unix" else f"{origin.host}:{origin.port}"


def why(error: OSError) -> str:
    """The reason of a failed connection, without addresses and numbers."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    return error.strerror or str(error) or type(error).__name__


def why_tls(error: ssl.SSLError) -> str:
    """The reason of a failed handshake: the certificate's fault in OpenSSL's words, else OpenSSL's code."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or "handshake failed").replace("_", " ").lower()
