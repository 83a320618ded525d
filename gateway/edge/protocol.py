"""The HTTP/1.1 server's connection: uvicorn's, with bounds on time and size and errors in the official shape.

uvicorn has no cap on bodies and heads, no time limits for them or for stalled writers, and answers broken
framing in plain text. All of that is here; what a request means is not.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from asyncio import TimerHandle, Transport
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

import httptools
from httptools.parser.url_parser import URL
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.domain.errors import GatewayError, InvalidRequest, SlowBody
from gateway.edge.exchange import Application, Exchange
from gateway.edge.head import Head, KnownHead
from gateway.edge.outbox import Outbox
from gateway.edge.render import JSON, render

MAX_HEAD_BYTES = 64 * 1024
SPARE_CONNECTIONS = 64
"""How many connections beyond the bound get an answer before they are closed; the rest are closed at once."""

_AROUND_FIELD = len(": \r\n")
_ONCE = {b"authorization", b"host", b"transfer-encoding"}
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[\w.~%!$&'()*+;=-]*)(?::[0-9]*)?").fullmatch
"""Of one host (RFC 9112, section 3.2); a comma, which a name may have, is how proxies join two."""

_PAUSE_ABOVE = 32 * 1024
_LINGER_S = 2.0
_RETIRED_IDLE_S = 1
_SPARE_HEAD_S = 1.0
_CHANCES = 3
"""How many heads of a connection are learnt in a row of which none comes again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of connections; times in seconds, sizes in bytes."""

    max_body_bytes: int = 10485760
    header_timeout_s: float = 10.0
    write_stall_s: float = 30.0
    max_connections: int = 8000


class RequestIds:
    """Makes request ids: unique without asking for randomness each time, and without telling a count."""

    def __init__(self) -> None:
        self._prefix = f"req_{os.urandom(6).hex()}{int(time.time()) & 0xFFFFFFFF:08x}"
        # Ten hexadecimal digits from the first one on: to fill them up each time would cost more than the id.
        self._numbers = itertools.count(0x10_0000_0000 + int.from_bytes(os.urandom(4), "big"))

    def next(self) -> str:
        """The next id."""
        return self._prefix + hex(next(self._numbers))[2:]  # noqa: FURB116  # at half the price


class GatewayProtocol(HttpToolsProtocol):
    """One client connection.

    Args:
        bounds: sizes and times that hold before anything is known about the request.
        ids: makes the ids of refusals that no application sees.
        outbox: of the process, for what its streams send.
    """

    # What uvicorn keeps of a connection are as many names as CPython lays out side by side in an object, 30.
    __slots__ = (
        "_bounds",
        "_chances",
        "_closing",
        "_default_head",
        "_defaults",
        "_fields",
        "_head_bytes",
        "_head_timer",
        "_idle_since",
        "_ids",
        "_is_ambiguous",
        "_is_retired",
        "_known",
        "_running",
        "_stall_timer",
        "is_spare",
        "outbox",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        bounds: Bounds,
        ids: RequestIds,
        outbox: Outbox,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.outbox = outbox
        self._bounds = bounds
        self._ids = ids
        self._head_timer: TimerHandle | None = None
        self._stall_timer: TimerHandle | None = None
        self._head_bytes = 0
        self._fields: dict[bytes, bytes] = {}
        self._is_ambiguous = False
        self._running: Exchange | None = None  # `cycle` is the one that is read: a later one, if pipelined
        self.is_spare = False
        self._closing = False
        self._is_retired = False
        self._idle_since = 0.0
        self._defaults: object = None
        self._default_head = b""
        self._known: KnownHead | None = None
        self._chances = _CHANCES

    # -- the connection's life

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client connected; its first head must come in time.

        uvicorn's own way asks the system for both addresses, by way of a socket that it makes for that.
        """
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        peer = transport.get_extra_info("peername")  # of a unix socket it is no tuple
        self.client = peer[:2] if isinstance(peer, tuple) else None
        surplus = len(self.connections) - self._bounds.max_connections
        if surplus > 0:
            self.is_spare = True
            if surplus > SPARE_CONNECTIONS:
                transport.abort()
                return
        transport.set_write_buffer_limits(high=_PAUSE_ABOVE)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: whoever serves it is told at once."""
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        cycles = [cast("Exchange", cycle) for cycle, _ in self.pipeline]
        if self._running is not None:
            cycles.append(self._running)
        super().connection_lost(exc)
        for cycle in cycles:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.body_event()
                if cycle.reader is not None:
                    cycle.reader.client_gone()
        self.pipeline.clear()
        self._running = None  # whose `protocol` this is; without a cycle they go with their last reference
        self.cycle = None  # type: ignore[assignment]  # as it begins

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._closing:
            return  # what follows a refused request is read only so that the refusal is not lost to a reset
        last = self.cycle
        # The request before is over on both sides, and no byte of another one came: the parser begins anew.
        is_begin = last is not None and last.response_complete and self._head_timer is None
        known = self._known
        if is_begin and known is not None:
            body = known.read(data)
            if body is not None:
                self._chances = _CHANCES
                self._run(self._exchange(known.head, body, more_body=False))
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(InvalidRequest("This server does not speak other protocols than HTTP/1.1."))
        except httptools.HttpParserError:
            self._refuse(InvalidRequest("The HTTP request is malformed."))
        else:
            cycle = self.cycle
            is_awaited = self._head_bytes or cycle is None or cycle.response_complete
            if is_awaited and self._head_timer is None:
                self._await_head()  # most heads are complete by now and never need it
            elif is_begin and self._chances:
                self._learn(data)

    @property
    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _learn(self, data: bytes) -> None:
        """Know the head of the request in `data` again, unless this client's heads are never the same."""
        exchange: Exchange = self.cycle  # type: ignore[assignment]  # we make no others
        if not exchange.more_body:
            self._chances -= 1
            self._known = KnownHead.of(data, exchange.head)

    def close_gently(self) -> None:
        """Close after a refusal: a reset would take the reply with it while the client still sends."""
        self._closing = True
        self.pipeline.clear()  # what follows on this connection is not served
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.more_body:
            self._linger()
        else:
            self._close()

    def _linger(self) -> None:
        """Close once the client has had time to read the answer, while what it still sends is dropped."""
        if not self.transport.can_write_eof():
            self._close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_S, self._close)

    def timeout_keep_alive_handler(self) -> None:
        """Close where no request came for long enough. One timer serves many waits: it may ring too early."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing() or self._head_bytes or not self._is_between_requests:
            return
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            self._close()

    def _close(self) -> None:
        """Close once all is written; a client that does not read it has no more time than any other."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._await_reader()

    def retire(self) -> None:
        """Send the client elsewhere: the next reply says `connection: close`, or the one it waits for.

        An idle connection stays open a little longer, since a request may be on its way already and a close
        would lose it. Doing it again changes nothing.
        """
        if self._is_retired:
            return
        self._is_retired = True
        self.timeout_keep_alive = _RETIRED_IDLE_S
        exchange = cast("Exchange | None", self.cycle)
        if exchange is not None and not exchange.response_complete:
            if not exchange.status:
                exchange.keep_alive = False
        elif self._head_bytes == 0:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                _RETIRED_IDLE_S, self.timeout_keep_alive_handler
            )

    # -- heads

    def _await_head(self) -> None:
        within_s = self._bounds.header_timeout_s
        if self.is_spare:
            within_s = min(within_s, _SPARE_HEAD_S)
        self._head_timer = self.loop.call_later(within_s, self._head_too_slow)

    def _forget_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_slow(self) -> None:
        self._head_timer = None
        if self.flow.read_paused:
            self._await_head()  # it may be there, behind a request that is still being answered
        elif self._head_bytes == 0:
            self._close()  # no request has begun: nobody waits for an answer
        else:
            self._refuse(SlowBody("The request's head did not arrive in time."))

    def on_message_begin(self) -> None:
        """A head begins. Nothing of ASGI's is made: an exchange needs no scope."""
        self.url = b""
        self._fields = {}
        self._is_ambiguous = False
        self._head_bytes = 1

    def on_url(self, url: bytes) -> None:
        """Bytes of the request's target."""
        self._head_bytes += len(url)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLarge
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is nobody's. The first of a name counts."""
        self._head_bytes += len(name) + len(value) + _AROUND_FIELD
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLarge
        name = name.lower()
        if name not in self._fields:
            self._fields[name] = value
        elif name in _ONCE:
            self._is_ambiguous = True  # two readers could each take another one

    def on_headers_complete(self) -> None:
        """The head is complete: its request starts, or waits for the one before it on this connection."""
        self._forget_head()
        headers, self._fields = self._fields, {}
        version = self.parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = (url.path or b"/").decode("ascii")
        if self._is_ambiguous or _is_ambiguous(version, self.url, url, headers):
            raise _Ambiguous
        head = Head(
            self.parser.get_method().decode("ascii"),
            unquote(path) if "%" in path else path,
            version,
            headers,
            version != "1.0" and self.parser.should_keep_alive(),
        )
        previous = self.cycle
        exchange = self._exchange(head)
        if previous is None or previous.response_complete:
            self._run(exchange)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]  # likewise

    def _exchange(self, head: Head, body: bytes = b"", more_body: bool = True) -> Exchange:
        keep_alive = head.keeps_alive and not (self._is_retired or self.is_spare)
        now = time.monotonic()  # the loop's own clock counts whole milliseconds
        exchange = Exchange(self, self.transport, head, keep_alive, now, body, more_body)
        self.cycle = exchange  # type: ignore[assignment]  # ours in the place of uvicorn's
        return exchange

    def _run(self, exchange: Exchange) -> None:
        """Let the application serve it, in a task of its own; `over` says when it has."""
        self._running = exchange
        serve: Application = self.app
        # Named, and by its own class: to count it in its name costs a fifth of what a task does.
        exchange.task = task = asyncio.Task(serve(exchange), loop=self.loop, name="request")
        self.tasks.add(task)

    # -- bodies

    def on_body(self, body: bytes) -> None:
        """Bytes of a body; past the cap nothing more is kept, and little before anyone asks for it."""
        exchange: Exchange = self.cycle  # type: ignore[assignment]  # we make no others
        if exchange.response_complete or exchange.too_large:
            return
        kept = exchange.body
        if not kept:
            kept = exchange.body = body  # most bodies come in one piece
        else:
            if isinstance(kept, bytes):
                kept = exchange.body = bytearray(kept)
            kept += body
        if len(kept) > self._bounds.max_body_bytes:
            exchange.too_large = True
            exchange.body = b""
            exchange.body_event()
        elif len(kept) > _PAUSE_ABOVE and not exchange.is_body_wanted:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """The body is complete."""
        if self._head_bytes:
            self._forget_head()  # trailers count like a head
        exchange: Exchange = self.cycle  # type: ignore[assignment]  # we make no others
        exchange.more_body = False
        exchange.body_event()

    # -- replies

    def replied(self, exchange: Exchange) -> None:
        """A reply is out: the next request, if this connection takes one or has it already."""
        exchange.response_complete = True
        if not exchange.keep_alive or exchange.more_body:
            self.close_gently()
        if (self._closing and not self.pipeline) or self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            following, _ = self.pipeline.pop()
            self._run(cast("Exchange", following))
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def default_head(self) -> bytes:
        """The header lines of every reply, as bytes; uvicorn makes a new list each second, for the date."""
        defaults = self.server_state.default_headers
        if defaults is not self._defaults:
            self._defaults, self._default_head = defaults, b"".join(b"%b: %b\r\n" % pair for pair in defaults)
        return self._default_head

    def _refuse(self, error: GatewayError) -> None:
        """Answer what no application will see, and close."""
        if self.transport.is_closing() or self._closing:
            return
        cycle = cast("Exchange | None", self.cycle)
        self._closing = True
        if cycle is not None and not cycle.response_complete:
            # Broken bytes inside a body are that request's error; behind it, they end the connection once
            # its reply is out.
            cycle.keep_alive = False
            if cycle.more_body:
                cycle.body_error = error
                cycle.body_event()
            return
        reply = render(error)
        head = (
            b"HTTP/1.1 %d %b\r\n%bcontent-type: %b\r\nx-request-id: %b\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n"
        )
        content = reply.content
        reason = b"Request Timeout" if reply.status == 408 else b"Bad Request"
        request_id = self._ids.next().encode()
        self.transport.write(
            head % (reply.status, reason, self.default_head(), JSON, request_id, len(content)) + content
        )
        self._linger()

    def pause_writing(self) -> None:
        """The client reads too slowly: the upstream is not read either, and not for ever."""
        super().pause_writing()
        exchange = self._running
        if exchange is not None and exchange.reader is not None:
            exchange.reader.pause()
        self._await_reader()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if self._stall_timer is not None and not self.transport.is_closing():
            self._stall_timer.cancel()
            self._stall_timer = None
        exchange = self._running
        if exchange is not None and exchange.reader is not None:
            exchange.reader.resume()

    def _await_reader(self) -> None:
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self._bounds.write_stall_s, self.transport.abort)


def _is_ambiguous(version: str, target: bytes, url: URL, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a head can be read in two ways."""
    if version != "1.1" and version != "1.0":  # noqa: PLR1714  # twice as fast
        return True
    host = headers.get(b"host")
    if (host is None and version == "1.1") or (host is not None and _HOST(host) is None):
        return True
    coding = headers.get(b"transfer-encoding")
    if coding is not None and (version != "1.1" or coding.strip().lower() != b"chunked"):
        return True  # where its body ends nobody could say (RFC 9112, section 6.1)
    # `find`, as `in` first takes bytes for a number and fails inside.
    return target.find(b"#") >= 0 or (url.schema is not None and not _is_web_address(url))


def _is_web_address(url: URL) -> bool:
    """Whether an absolute target is one that a web client may send (RFC 9110, sections 4.2.4 and 7.1)."""
    return url.schema.lower() in (b"http", b"https") and url.userinfo is None


class _HeadTooLarge(Exception):
    """Raised inside the parser's callbacks, which turn it into a parser error."""


class _Ambiguous(Exception):
    """A head that can be read in two ways. Raised inside the parser's callbacks, as above."""
