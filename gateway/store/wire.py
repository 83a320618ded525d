"""One connection: bytes out, replies back in the order of the calls."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import hiredis

from gateway.store.errors import StoreAway, StoreError, StoreReplyError

Waiter = tuple[asyncio.Future[Any], float]
"""A call that waits for its reply, and the time by the wire's clock when it gives up."""

_UNFIT = {"LOADING", "READONLY"}  # codes by which a server says that it is no use now, whatever the call

_MORE = object()  # what the reader says when it needs more bytes; a reply is never this object


class WireOwner(Protocol):
    """Who wants to know how the connection does."""

    def refused(self, error: StoreReplyError) -> None:
        """The server is there but of no use: it loads its data, or is a replica."""

    def lost(self, why: str) -> None:
        """The connection is gone; its calls have been failed."""


class Wire(asyncio.Protocol):
    """A connection of the Redis protocol.

    A call that nobody waits for any more (timed out, cancelled) keeps its place in `waiters`, so that its
    late reply is dropped and all others still meet their own calls.

    Whoever sends appends to `waiters`, one for each command, and hands the bytes of all to `write`.

    Attributes:
        has_answered: a reply was of use, since somebody last set this back: it was still waited for, and the
            server is fit to serve.
        when_heard: called once, when the next bytes have come and their replies are handed out.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.waiters: deque[Waiter] = deque()
        self.heard_at = clock()
        self.is_closed = False
        self.has_answered = False
        self.when_heard: Callable[[], None] | None = None
        self.owner: WireOwner | None = None
        self.gone = asyncio.Event()
        self.write: Callable[[bytes], None]
        self._clock = clock
        self._transport: asyncio.Transport
        self._reader = hiredis.Reader(replyError=StoreReplyError, notEnoughData=_MORE)

    def close(self, why: str) -> None:
        """Drop the connection now and fail what is in flight with `StoreAway(why)`. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        self._transport.abort()
        for future, _ in self.waiters:
            if not future.done():
                future.set_exception(StoreAway(why))
        self.waiters.clear()
        if self.owner is not None:
            self.owner.lost(why)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            # An idle connection that a firewall forgot is found by the kernel, not by the next caller.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Part of `asyncio.Protocol`."""
        self.heard_at = self._clock()
        reader, waiters = self._reader, self.waiters
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _MORE:
                future = waiters.popleft()[0]
                try:
                    if type(reply) is StoreReplyError:
                        self._refuse(future, reply)
                    else:
                        future.set_result(reply)
                        self.has_answered = True
                except asyncio.InvalidStateError:
                    pass  # nobody waits for it any more
        except hiredis.ProtocolError:
            self.close("the server does not speak the Redis protocol")
        except IndexError:
            self.close("the server sent a reply that no call asked for")
        if self.when_heard is not None:
            then, self.when_heard = self.when_heard, None
            then()

    def _refuse(self, future: asyncio.Future[Any], reply: StoreReplyError) -> None:
        future.set_exception(_error(reply))
        if reply.code not in _UNFIT:
            self.has_answered = True
        elif self.owner is not None:
            self.owner.refused(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of `asyncio.Protocol`."""
        self.close(f"the connection was lost{f' ({exc})' if exc else ''}; the call may have run")
        self.gone.set()


def _error(reply: StoreReplyError) -> StoreError:
    if reply.code == "READONLY":
        return StoreAway("the server is a replica: it took no write")
    return reply


async def outcomes(
    futures: Sequence[asyncio.Future[Any]],
    kept: type[StoreError] | tuple[type[StoreError], ...] = StoreReplyError,
) -> list[Any]:
    """What came of each call, errors that are `kept` in their places. Raises the first of any other kind."""
    replies: list[Any] = []
    future: asyncio.Future[Any] | None = None
    try:
        for future in futures:
            try:
                replies.append(await future)
            except kept as error:
                replies.append(error)
    finally:
        _let_go(futures[len(replies) :])
        del futures, future  # else an error that leaves here holds this frame, which holds it: a cycle
    return replies


def _let_go(futures: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for none of them; their errors count as seen, so that the loop does not report them."""
    for future in futures:
        if not future.cancel() and not future.cancelled():
            future.exception()
