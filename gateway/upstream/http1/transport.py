"""The fast transport: takes or opens a connection, sends the request, waits for the head."""

from __future__ import annotations

import asyncio
import ssl

import msgspec

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.upstream.http1.connection import Connection
from gateway.upstream.http1.deadlines import Deadlines
from gateway.upstream.http1.dialer import Dialer, describe
from gateway.upstream.http1.pool import Pool, PoolStats
from gateway.upstream.http1.request_encoder import encode, encode_head
from gateway.upstream.http1.response import Http1Response
from gateway.upstream.port import Origin, RequestHead, UpstreamRequest

_REMEMBERED = 256  # heads: one for each credential and route in use; the memory is dropped when it is full


class _Way(msgspec.Struct, frozen=True):
    """What is the same for all requests of one head."""

    pool: Pool
    start: bytes
    bodyless: bool


class Http1Transport:
    """The `Transport` for HTTP/1.1 upstreams, over TCP, TLS or a unix socket.

    Args:
        loop: the event loop; by default that of the first `send`.
        ssl_context: for "https"; by default made at the first need, from the system's authorities.
        idle_limit: idle connections kept for one origin.
        idle_age_s: an idle connection is closed at this age, before upstreams and what stands in between
            forget it (load balancers commonly do after 60 s).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        idle_limit: int = 1024,
        idle_age_s: float = 55.0,
    ) -> None:
        self._given_loop = loop
        self._loop: asyncio.AbstractEventLoop  # these three are made by the first `send`
        self._deadlines: Deadlines
        self._dialer: Dialer
        self._is_started = False
        self._ssl_context = ssl_context
        self._idle_limit = idle_limit
        self._idle_age_s = idle_age_s
        self._pools: dict[Origin, Pool] = {}
        self._ways: dict[RequestHead, _Way] = {}
        self._reaper: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def send(self, request: UpstreamRequest) -> Http1Response:
        """Send `request`; returns when the response's head is there. See `Transport.send`.

        A kept connection that dies before the first byte of an answer was closed by the upstream before it
        saw the request, in all likelihood: the request goes out once more, on a fresh connection (RFC 9112,
        section 9.3.1). On a fresh connection, or after any byte, nothing is ever sent twice.
        """
        way = self._ways.get(request.head) or self._way(request.head)
        pool, timeouts = way.pool, request.timeouts
        payload = encode(way.start, request)
        connection = pool.take()
        due_at = 0.0
        while True:
            if connection is None:
                connection = await self._dial(pool, timeouts.connect_s)
            loop, deadlines = self._loop, self._deadlines
            due_at = due_at or loop.time() + timeouts.first_token_s
            response = Http1Response(connection, deadlines, timeouts, loop.create_future())
            deadlines.arm(response, due_at)
            if way.bodyless:
                connection.expect_no_body()
            connection.start(response, payload)
            try:
                await response.head
            except asyncio.CancelledError:
                response.abort()
                raise
            if response.status:
                return response
            failure = response.failure
            if failure is not None and not response.stale:
                raise failure
            connection = None

    async def aclose(self) -> None:
        """Close every connection, idle ones in good order; responses under way break."""
        self._is_closed = True
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for pool in self._pools.values():
            await pool.aclose()
        if self._is_started:
            self._dialer.close()
            self._deadlines.close()

    def stats(self) -> dict[Origin, PoolStats]:
        """What is open, for each origin that has anything open."""
        return {origin: pool.stats for origin, pool in self._pools.items() if pool.stats.open}

    def _way(self, head: RequestHead) -> _Way:
        """What requests of `head` begin with, and where they go."""
        pool = self._pool(head.origin)
        way = _Way(pool, encode_head(head, pool.host_header), head.method == "HEAD")
        if len(self._ways) >= _REMEMBERED:
            self._ways.clear()
        self._ways[head] = way
        return way

    def _pool(self, origin: Origin) -> Pool:
        if not self._is_started:
            self._is_started = True
            self._loop = self._given_loop or asyncio.get_running_loop()
            self._deadlines = Deadlines(self._loop)
            self._dialer = Dialer(self._loop, self._ssl_context)
        pool = self._pools.get(origin)
        if pool is None:
            try:
                pool = self._pools[origin] = Pool(origin, self._idle_limit)
            except UnicodeError as error:  # a name that cannot even stand in a Host header
                reason = f"cannot resolve {origin.host}: not a host name"
                raise AttemptFailed(FailureClass.CONNECT, reason) from error
        return pool

    async def _dial(self, pool: Pool, connect_s: float) -> Connection:
        peer = describe(pool.origin)
        if self._is_closed:
            raise AttemptFailed(FailureClass.CONNECT, f"no connection to {peer}: the gateway is stopping")
        pool.dialing += 1
        try:
            connection = await self._dialer.dial(
                pool.origin, lambda: Connection(self._loop, pool, peer), connect_s
            )
        finally:
            pool.dialing -= 1
        pool.opened(connection)
        if self._is_closed:  # meanwhile
            connection.abort()
            raise AttemptFailed(FailureClass.CONNECT, f"no connection to {peer}: the gateway is stopping")
        if self._reaper is None:
            self._reaper = self._loop.call_later(self._idle_age_s, self._reap)
        return connection

    def _reap(self) -> None:
        """Close what is idle for too long, forget origins without connections, and come again in time."""
        now = self._loop.time()
        next_at = now + self._idle_age_s
        for origin, pool in list(self._pools.items()):
            used_at = pool.drop_idle(used_before=now - self._idle_age_s)
            if used_at is not None:
                next_at = min(next_at, used_at + self._idle_age_s)
            if pool.is_unused:
                del self._pools[origin]
                self._ways.clear()
        self._reaper = self._loop.call_at(next_at, self._reap) if self._pools else None
