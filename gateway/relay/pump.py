"""Moves a stream from an upstream's socket to a client's, by callback from the commit point on."""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from gateway.domain.errors import AttemptFailed, FailureClass, StreamBroken
from gateway.domain.usage import Usage
from gateway.relay.stream import Stream

USAGE_WAIT_S = 2.0
"""How long the gateway reads on for the usage after a client left with its answer complete."""

LINGER_S = 1.0
"""How long a source may take to end its body after `[DONE]`, so that its connection can be used again."""

_KEEP_ALIVE = b": keep-alive\n\n"


class Source(Protocol):
    """The upstream's side: an answer whose body comes by callback."""

    last_byte_at: float
    """When its last byte came, by the loop's clock."""

    def attach(self, sink: Pump) -> None:
        """Deliver the body to `sink`."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Close; the sink hears nothing more."""


class Drain(Protocol):
    """The client's side."""

    def write(self, data: bytes) -> None:
        """Send bytes; never blocks."""


class Limits(msgspec.Struct, frozen=True):
    """Seconds: how long the upstream may be silent, and until a keep-alive comment leaves."""

    idle_s: float
    keepalive_s: float


class Ending(msgspec.Struct, frozen=True):
    """How a stream ended. `error` is None where the answer is complete.

    `client_left` says that nobody is there to read what is still to be said; `last_byte_at` is a reading of
    the loop's clock.
    """

    usage: Usage | None
    service_tier: str | None = None
    error: StreamBroken | None = None
    client_left: bool = False
    last_byte_at: float = 0.0


class Pump:
    """One stream on its way. Await `committed`, then `connect` the client, then await `ended`."""

    __slots__ = (
        "_body_over",
        "_client",
        "_client_left",
        "_commit",
        "_deadline",
        "_end",
        "_last_sent_at",
        "_limits",
        "_loop",
        "_now",
        "_paused",
        "_pending",
        "_resumed_at",
        "_source",
        "_stream",
        "_timer",
    )

    def __init__(self, source: Source, stream: Stream, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._stream = stream
        self._loop = loop
        self._now = loop.time
        self._pending = b""
        self._commit: asyncio.Future[None] = loop.create_future()
        self._end: asyncio.Future[Ending] = loop.create_future()
        self._client: Drain | None = None
        self._client_left = False
        self._paused = False
        self._body_over = False
        self._resumed_at = 0.0
        self._last_sent_at = 0.0
        self._limits: Limits | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- until the commit point

    async def committed(self, within_s: float) -> None:
        """Wait for the first event with content.

        Raises:
            AttemptFailed: `timeout`, or `bad_response` where the stream broke first. The source is closed.
        """
        timer = self._loop.call_later(within_s, self._too_late)
        self._source.attach(self)
        try:
            await self._commit
        except BaseException:  # cancelled, too: nobody reads on
            self._source.abort()
            raise
        finally:
            timer.cancel()

    def _too_late(self) -> None:
        if not self._commit.done():
            self._commit.set_exception(
                AttemptFailed(FailureClass.TIMEOUT, "The upstream sent no content in time.")
            )

    # -- from the commit point on

    def connect(self, client: Drain, limits: Limits, deadline: float) -> None:
        """Let the stream flow to `client`, what was held first; `deadline` is by the loop's clock."""
        self._limits = limits
        self._deadline = deadline
        self._last_sent_at = self._now()
        if self._client_left:
            return
        self._client = client
        if self._pending:
            client.write(self._pending)
            self._pending = b""
        if not self._end.done():
            self._tick()

    async def ended(self) -> Ending:
        """Wait for the end; the source is done with or closed when this returns."""
        try:
            return await self._end
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._stream.is_done and not self._body_over:
                self._loop.call_later(LINGER_S, self._source.abort)
            else:
                self._source.abort()

    def relayed_text(self) -> str:
        """What the model wrote in what was relayed."""
        return self._stream.relayed_text()

    def pause(self) -> None:
        """The client reads too slowly: read no more from the upstream."""
        if not self._client_left:
            self._paused = True
            self._source.pause()

    def resume(self) -> None:
        """The client has caught up."""
        self._paused = False
        self._resumed_at = self._now()
        self._source.resume()

    def client_gone(self) -> None:
        """The client left: stop at once, or read on for the usage where its answer is complete."""
        if self._end.done() or self._client_left:
            return
        self._client_left = True
        self._client = None
        if self._stream.is_finished:
            self.resume()
            self._deadline = self._now() + USAGE_WAIT_S
            if self._timer is not None:
                self._timer.cancel()
            self._tick()
        else:
            self._finish(StreamBroken("client_left", "The client left before the answer was complete."))

    def stop(self, error: StreamBroken) -> None:
        """End the stream from our side, as a drain does at its deadline."""
        self._finish(error)

    # -- Sink: called by the transport

    def data(self, chunk: bytes) -> None:
        """The next bytes of the upstream's body."""
        stream = self._stream
        client = self._client
        if client is not None and stream.is_flowing and stream.said.repeats(chunk):
            client.write(chunk)  # nearly every chunk of nearly every stream
            self._last_sent_at = self._source.last_byte_at
            return
        if self._end.done():
            return
        out = stream.feed(chunk)
        if out:
            if client is not None:
                client.write(out)
                self._last_sent_at = self._source.last_byte_at
            else:
                self._hold(out)
        if stream.broken is not None:
            self._break(stream.broken)
        elif stream.is_done:
            self._complete()

    def end(self) -> None:
        """The upstream's body is complete."""
        self._body_over = True
        if self._end.done():
            return
        out = self._stream.close()
        if out and self._client is not None:
            self._client.write(out)
        elif out:
            self._hold(out)
        if self._stream.broken is not None:
            self._break(self._stream.broken)
        else:
            self._complete()

    def fail(self, error: Exception) -> None:  # noqa: ARG002  # it names hosts, which are not the caller's business
        """The upstream's connection broke."""
        self._body_over = True
        self._break(StreamBroken("stream_truncated", "The connection to the upstream broke."))

    def _hold(self, out: bytes) -> None:
        if not self._client_left:
            self._pending += out
        if not self._commit.done():
            self._commit.set_result(None)

    def _complete(self) -> None:
        if not self._stream.is_committed:
            self._break(StreamBroken("stream_truncated", "The upstream's stream was empty."))
            return
        if not self._end.done():
            self._end.set_result(self._ending(None))

    def _break(self, error: StreamBroken) -> None:
        """A failure: of the attempt before the commit point, of the stream after it."""
        if self._stream.is_committed:
            if not self._commit.done():
                self._commit.set_result(None)
            self._finish(error)
        elif not self._commit.done():
            self._commit.set_exception(AttemptFailed(FailureClass.BAD_RESPONSE, str(error)))

    def _finish(self, error: StreamBroken) -> None:
        if self._end.done():
            return
        self._stream.is_flowing = False  # what still comes is nobody's
        complete_without_reader = self._client_left and self._stream.is_finished
        self._end.set_result(self._ending(None if complete_without_reader else error))

    def _ending(self, error: StreamBroken | None) -> Ending:
        stream = self._stream
        heard_at = max(self._source.last_byte_at, self._resumed_at)
        return Ending(stream.usage, stream.service_tier, error, self._client_left, heard_at)

    # -- time

    def _tick(self) -> None:
        if self._end.done() or self._limits is None:
            return
        now = self._now()
        heard_at = max(self._source.last_byte_at, self._resumed_at)
        idle_at = self._deadline if self._paused else heard_at + self._limits.idle_s
        if now >= self._deadline:
            self._finish(StreamBroken("stream_stalled", "The stream took longer than it may."))
            return
        if now >= idle_at:
            self._finish(StreamBroken("stream_stalled", "The upstream sent nothing for too long."))
            return
        comment_at = self._deadline
        if self._client is not None and not self._paused:
            if now >= self._last_sent_at + self._limits.keepalive_s:
                self._client.write(_KEEP_ALIVE)
                self._last_sent_at = now
            comment_at = self._last_sent_at + self._limits.keepalive_s
        self._timer = self._loop.call_at(min(self._deadline, idle_at, comment_at), self._tick)
