"""One response, from the sending of its request on: awaited for its head, then handed to the pipeline."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

import msgspec

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.domain.settable import settable
from gateway.upstream.http1.deadlines import Deadlines
from gateway.upstream.http1.response_parser import ResponseParser, fields_of
from gateway.upstream.port import Sink, Timeouts

_CLAIMED_TWICE = "a response's body is delivered once"
HELD_BYTES = 65536  # body kept for a response that nobody reads yet; then the socket is left alone


def _needle(name: bytes) -> bytes:
    """What a field is found by in a head. Kept, as the names are those that the gateway ever asks for."""
    needle = _NEEDLES[name] = b"\r\n%b:" % name
    return needle


_NEEDLES: dict[bytes, bytes] = {}


class Wire(Protocol):
    """What a response asks of its connection, while it has one."""

    peer: str

    def set_reading(self, reading: bool) -> None:
        """Read from the socket, or leave it alone. Idempotent."""

    def abandon(self) -> None:
        """The response wants nothing more: close the connection at once, without another call back."""


@settable
class Http1Response(msgspec.Struct, eq=False):
    """The `UpstreamResponse` of this transport.

    `head` is done when `status` and headers are there, or when `failure` says why they will never be.
    `stale` marks the failure of a kept connection which died before it could have brought an answer.
    A struct, since one is made for each call: its defaults are filled in without Python.
    """

    _wire: Wire | None
    _deadlines: Deadlines
    _timeouts: Timeouts
    head: asyncio.Future[None]
    due_at: float = 0.0
    last_byte_at: float = 0.0
    status: int = 0
    failure: AttemptFailed | None = None
    stale: bool = False
    whole: bytes | None = None
    sink: Sink | None = None
    _lines: bytes = b""  # of the head, as they came
    _lowered: bytes = b""  # the same, to look for names in
    _held: list[bytes] = []
    _held_bytes: int = 0
    _hold_is_full: bool = False
    _paused: bool = False
    _complete: bool = False
    _aborted: bool = False
    _claimed: bool = False
    _limit: int | None = None
    _body_waiter: asyncio.Future[None] | None = None
    _waiting_since: float = 0.0
    _until: float = math.inf

    # For the pipeline: see `UpstreamResponse`.

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """All of them, in order."""
        return fields_of(self._lines)

    def header(self, name: bytes) -> bytes | None:
        """The first header of this lower-case name."""
        needle = _NEEDLES.get(name) or _needle(name)
        found = self._lowered.find(needle)
        if found < 0:
            return None
        lines, start = self._lines, found + len(needle)
        return lines[start : lines.find(b"\r\n", start)].strip()

    def has_any(self, beginning: bytes) -> bool:
        """Whether the lower-case name of any header begins so."""
        return self._lowered.find(b"\r\n" + beginning) >= 0

    def attach(self, sink: Sink) -> None:
        """Deliver the body to `sink`: what is held at once, the rest as it comes."""
        if self._claimed:
            raise RuntimeError(_CLAIMED_TWICE)
        self._claimed = True
        if self._aborted:
            return
        self.sink = sink
        body, self.whole = self.whole or b"".join(self._held), None
        self._held.clear()
        if body:
            sink.data(body)
            if self._aborted:
                return
        if self.failure is not None:
            sink.fail(self.failure)
        elif self._complete:
            sink.end()
        elif self._hold_is_full:
            self._hold_is_full = False
            self._steer()

    async def read(self, limit: int, until: float = math.inf) -> bytes:
        """The whole body, of at most `limit` bytes, here `until` then."""
        if self._claimed:
            raise RuntimeError(_CLAIMED_TWICE)
        self._claimed = True
        self._limit = limit
        self._until = until
        self._check_limit(limit)
        if not self._complete and self.failure is None:
            loop = self.head.get_loop()
            self._body_waiter = loop.create_future()
            self._waiting_since = loop.time()
            self._deadlines.arm(self, min(self._waiting_since + self._timeouts.idle_s, until))
            if self._hold_is_full:
                self._hold_is_full = False
                self._steer()
            try:
                await self._body_waiter
            except asyncio.CancelledError:
                self.abort()
                raise
        if self.failure is not None:
            raise self.failure
        whole = self.whole or b""
        if len(whole) > limit:
            raise _too_large(limit)
        return whole

    def pause(self) -> None:
        """Leave the socket alone; what was read already is still delivered."""
        self._paused = True
        self._steer()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._steer()

    def abort(self) -> None:
        """Close the connection unless the body is complete, and call nobody back."""
        self._aborted = True
        self.sink = None
        self._held.clear()
        self.whole = None
        if not self._complete:
            self._give_up(
                AttemptFailed(FailureClass.BAD_RESPONSE, "the response was given up by the gateway")
            )

    # For the connection.

    def arrived(self, parser: ResponseParser, body: bytes) -> None:
        """Bytes came before there was a sink: of the head, of the body, or of both."""
        if not self.status and parser.head_ready:
            self.status = parser.status
            lines = self._lines = parser.head
            self._lowered = lines.lower()
            self._deadlines.disarm(self)
            if not self.head.done():
                self.head.set_result(None)
        if parser.complete and not self._held:
            self.whole = body  # at once, as most replies come
        elif body:
            self._hold(body)

    def ended(self) -> None:
        """The body is complete; the connection has gone its way already."""
        self._wire = None
        self._complete = True
        if self.sink is not None:
            self.sink.end()
            return
        if self.whole is None:
            self.whole = b"".join(self._held)
        if self._body_waiter is not None:
            self._wake()

    def broke(self, failure: AttemptFailed) -> None:
        """The body, or even the head, will not be completed; the connection has gone already."""
        self._wire = None
        self.failure = failure
        self._wake()
        if self.sink is not None:
            self.sink.fail(failure)

    # For the deadlines.

    def on_due(self, now: float) -> float | None:
        """No head in time, or no byte of a body that is being read."""
        peer = self._wire.peer if self._wire is not None else "the upstream"
        if self.status == 0:
            limit_s = self._timeouts.first_token_s
            reason = f"{peer} sent no answer within {limit_s:g} s (first_token_s)"
        elif now >= self._until:
            reason = f"{peer} took too long for its answer"
        else:
            limit_s = self._timeouts.idle_s
            later = max(self.last_byte_at, self._waiting_since) + limit_s
            if later > now:
                return min(later, self._until)
            reason = f"{peer} fell silent within its answer for {limit_s:g} s (idle_s)"
        self._give_up(AttemptFailed(FailureClass.TIMEOUT, reason))
        return None

    def _hold(self, body: bytes) -> None:
        self._held.append(body)
        self._held_bytes += len(body)
        if self._limit is not None:
            self._check_limit(self._limit)
        elif self._held_bytes > HELD_BYTES:
            self._hold_is_full = True
            self._steer()

    def _check_limit(self, limit: int) -> None:
        if self._held_bytes > limit:
            self._give_up(_too_large(limit))

    def _give_up(self, failure: AttemptFailed) -> None:
        if self.failure is None:
            self.failure = failure
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abandon()
        self._wake()

    def _wake(self) -> None:
        self._deadlines.disarm(self)
        if not self.head.done():
            self.head.set_result(None)
        if self._body_waiter is not None and not self._body_waiter.done():
            self._body_waiter.set_result(None)

    def _steer(self) -> None:
        if self._wire is not None:
            self._wire.set_reading(not (self._paused or self._hold_is_full))


def _too_large(limit: int) -> AttemptFailed:
    return AttemptFailed(FailureClass.BAD_RESPONSE, f"the answer is larger than {limit} bytes")
