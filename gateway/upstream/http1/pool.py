"""The connections to one origin: which are open, and which of them are idle."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.upstream.http1.connection import Connection
from gateway.upstream.port import Origin

_CLOSING_S = (
    2.0  # closing TLS in good order is bounded more tightly; this only keeps a fault from hanging a stop
)


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Connections of one origin now; `idle` ones are among the `open` ones."""

    open: int
    idle: int


class Pool:
    """Keeps the idle connections to one origin; the last one used is taken first, so the others can age.

    It opens and counts nothing: how many calls an upstream takes at once is the pipeline's to bound.
    """

    __slots__ = ("_closed", "_idle", "_idle_limit", "_open", "dialing", "host_header", "origin")

    def __init__(self, origin: Origin, idle_limit: int) -> None:
        self.origin = origin
        self.host_header = origin.host_header
        self._idle_limit = idle_limit
        self._idle: dict[Connection, None] = {}  # by the time of release, the latest last
        self._open: set[Connection] = set()
        self._closed: asyncio.Future[None] | None = None
        self.dialing = 0  # connections in the making

    def take(self) -> Connection | None:
        """An idle connection, or None."""
        return self._idle.popitem()[0] if self._idle else None

    def opened(self, connection: Connection) -> None:
        """A connection is ready for its first request.

        Not told by the connection itself: uvloop may close a socket without a word to it where connecting is
        cancelled.
        """
        self._open.add(connection)

    def release(self, connection: Connection) -> None:
        """A connection can carry another request."""
        if len(self._idle) < self._idle_limit:
            self._idle[connection] = None
        else:
            connection.close()

    def discard(self, connection: Connection) -> None:
        """A connection that nobody may take any more, though it may still be closing. Idempotent."""
        self._idle.pop(connection, None)

    def lost(self, connection: Connection) -> None:
        """A connection is closed."""
        self._idle.pop(connection, None)
        self._open.discard(connection)
        if self._closed is not None and not self._open and not self._closed.done():
            self._closed.set_result(None)

    def drop_idle(self, used_before: float) -> float | None:
        """Close what has been idle since `used_before` (`loop.time()`); when the next one was used last."""
        for connection in list(self._idle):
            if connection.used_at > used_before:
                return connection.used_at
            del self._idle[connection]
            connection.close()
        return None

    async def aclose(self) -> None:
        """Close all connections, idle ones in good order and those in use at once; returns when they are."""
        for connection in list(self._open):
            if connection in self._idle:
                del self._idle[connection]
                connection.close()
            else:
                connection.abort()
        if self._open:
            self._closed = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._closed], timeout=_CLOSING_S)

    @property
    def is_unused(self) -> bool:
        """Nothing is open, and nothing is about to be."""
        return not self._open and not self.dialing

    @property
    def stats(self) -> PoolStats:
        """What is open now."""
        return PoolStats(open=len(self._open), idle=len(self._idle))
