"""One answer on its way to many: everyone reads it at a pace of their own.

A *flight* is one call of a model whose answer several callers want. What comes of it is kept from its first
event on, so that whoever joins late begins at the beginning. Nobody waits for anybody: who lags is fed from
what is kept, and who lags too far behind the others is let go. Only when all lag is the source paused.

    waiting -- open --> open -- close --> over         fail, at any time before open: over, with a failure
"""

from __future__ import annotations

import asyncio
import re
from typing import Literal, Protocol

import msgspec

from gateway.cache.replay import is_comment, is_usage_event, split
from gateway.caller import Drain
from gateway.domain.errors import StreamBroken
from gateway.domain.usage import Usage

LEAST_KEPT_BYTES = 1 << 20
"""What a flight keeps for those who lag, at least."""

_PIECE_BYTES = 64 * 1024
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What is known when an answer begins.

    Args:
        kind: a JSON body, or events.
        model: that serves, the id asked of `upstream`.
        fallback: "none", or why the first target does not serve.
    """

    kind: Literal["json", "stream"]
    model: str
    upstream: str
    fallback: str | None = None
    shutdown_date: str | None = None


class Tail(msgspec.Struct, frozen=True, array_like=True):
    """What is known when it ends; `error`, a code and a message, where it broke off."""

    usage: Usage | None = None
    service_tier: str | None = None
    error: tuple[str, str] | None = None


class Source(Protocol):
    """Where the answer comes from."""

    def pause(self) -> None:
        """Everyone lags: read no more for now."""

    def resume(self) -> None:
        """Read on."""

    def abandoned(self) -> None:
        """Nobody reads any more."""


class Reader(Protocol):
    """Reads beside the followers and is never waited for."""

    position: int
    """How many parts it has read."""

    def wake(self) -> None:
        """There is more to read."""


class Flight:
    """One answer, and those who read it.

    Args:
        keep_bytes: the most that is kept for those who lag. A longer answer cannot be joined any more.
    """

    def __init__(self, keep_bytes: int) -> None:
        self.head: Head | None = None
        self.tail: Tail | None = None
        self.failure: BaseException | None = None
        self.source: Source | None = None
        self.reader: Reader | None = None
        self.size = 0
        """Bytes so far."""
        self.count = 0
        """Parts so far: events, or one body."""
        self._keep_bytes = max(keep_bytes, LEAST_KEPT_BYTES)
        self._parts: list[bytes] = []
        self._dropped = 0
        self._usage_at: set[int] = set()
        self._followers: set[Follower] = set()
        self._is_paused = False

    @property
    def is_open(self) -> bool:
        """True once it is known how the answer begins."""
        return self.head is not None

    @property
    def is_over(self) -> bool:
        """True once nothing more will come."""
        return self.tail is not None or self.failure is not None

    @property
    def is_whole(self) -> bool:
        """True while all of it is kept, so that it can be joined."""
        return self._dropped == 0

    @property
    def has_followers(self) -> bool:
        """True while anyone of this process reads."""
        return bool(self._followers)

    # -- from the source

    def open(self, head: Head) -> None:
        """The answer begins."""
        self.head = head
        self._tell()

    def write(self, data: bytes) -> None:
        """Events of a stream, complete ones; comments reach those alone who have read all else."""
        if not data or self.is_over:
            return
        events = split(data)
        fresh = [event for event in events if not is_comment(event)]
        for follower in list(self._followers):
            if follower.is_level and len(fresh) < len(events):
                follower.comment(b"".join(event for event in events if is_comment(event)))
        for event in fresh:
            if _NO_CHOICES.search(event) and is_usage_event(event):
                self._usage_at.add(self.count)
            self._add(event)
        if fresh:
            self._tell()
            self._bound()

    def body(self, body: bytes) -> None:
        """The answer as one JSON body."""
        self._add(body)
        self._tell()

    def close(self, tail: Tail) -> None:
        """The answer is complete, or broke off."""
        if not self.is_over:
            self.tail = tail
            self._tell()

    def fail(self, failure: BaseException) -> None:
        """There is no answer; where it has begun, it broke off."""
        if self.is_over:
            return
        if self.is_open:
            self.tail = Tail(error=("stream_truncated", "The stream broke off."))
        else:
            self.failure = failure
        self._tell()

    def _add(self, part: bytes) -> None:
        self._parts.append(part)
        self.count += 1
        self.size += len(part)

    def _tell(self) -> None:
        for follower in list(self._followers):
            follower.wake()
        if self.reader is not None:
            self.reader.wake()

    # -- to those who read

    def follow(self, loop: asyncio.AbstractEventLoop, *, wants_usage: bool) -> Follower:
        """Read along, from the beginning."""
        follower = Follower(self, loop, wants_usage=wants_usage)
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Read no more. The others do not notice; where nobody is left, the source does."""
        if follower in self._followers:
            self._followers.remove(follower)
            if not self._followers and not self.is_over and self.source is not None:
                self.source.abandoned()
            self.balance()

    def part(self, number: int) -> bytes:
        """One part, the first is 0. Raises `IndexError` for one that is not kept or not there."""
        if number < self._dropped:
            raise IndexError(number)
        return self._parts[number - self._dropped]

    def is_usage(self, number: int) -> bool:
        """Whether a part is the usage-only chunk."""
        return number in self._usage_at

    def parts(self) -> tuple[bytes, ...]:
        """All that is kept."""
        return tuple(self._parts)

    def balance(self) -> None:
        """Pause the source while everyone is half of the bound behind; let it go on when one is not."""
        if self.source is None or not self._followers or self.is_over:
            return
        is_behind = all(
            follower.is_busy and self.size - follower.read_bytes > self._keep_bytes // 2
            for follower in self._followers
        )
        if is_behind != self._is_paused:
            self._is_paused = is_behind
            if is_behind:
                self.source.pause()
            else:
                self.source.resume()

    def _bound(self) -> None:
        """Let go whoever is too far behind, then what nobody needs."""
        if self.size > self._keep_bytes:
            for follower in list(self._followers):
                if follower.is_slow and self.size - follower.read_bytes > self._keep_bytes:
                    follower.let_go()
            needed = [follower.position for follower in self._followers]
            if self.reader is not None:
                needed.append(self.reader.position)
            drop = min(needed, default=self.count) - self._dropped
            if drop > 0:
                del self._parts[:drop]
                self._dropped += drop
        self.balance()


class Follower:
    """One who reads a flight. Await `opened`; `connect` a client, if it streams; await `ended`."""

    def __init__(self, flight: Flight, loop: asyncio.AbstractEventLoop, *, wants_usage: bool) -> None:
        self.flight = flight
        self.position = 0
        self.read_bytes = 0
        self.is_paused = False
        self._wants_usage = wants_usage
        self._client: Drain | None = None
        self._is_connected = False
        self._opened: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[StreamBroken | None] = loop.create_future()
        self.wake()

    @property
    def is_level(self) -> bool:
        """True where all that came was read."""
        return self._client is not None and not self.is_paused and self.position == self.flight.count

    @property
    def is_over(self) -> bool:
        """True where it reads no more."""
        return self._ended.done()

    @property
    def is_busy(self) -> bool:
        """True where it cannot read now: its client lags, or is about to be connected."""
        return self.is_paused or not self._is_connected

    @property
    def is_slow(self) -> bool:
        """True where nobody knows when it will read: its client lags, or it waits for the end."""
        return self.is_paused or (self._is_connected and self._client is None)

    async def opened(self) -> None:
        """Wait until the flight is open, or has failed."""
        await self._opened

    def connect(self, client: Drain | None) -> None:
        """Let the events flow to a client; None just waits for the end."""
        self._client = client
        self._is_connected = True
        self.wake()
        self.flight.balance()

    async def ended(self) -> StreamBroken | None:
        """Wait until all was read: None for a complete answer, else why there is no more."""
        return await self._ended

    async def ended_within(self, seconds: float) -> None:
        """Wait so long, or until it reads no more."""
        await asyncio.wait({self._ended}, timeout=seconds)

    def leave(self) -> None:
        """Read no more."""
        self.stop(StreamBroken("client_left", "The client left before the answer was complete."))

    def stop(self, error: StreamBroken) -> None:
        """End it from our side."""
        self.flight.leave(self)
        self._end(error)

    def let_go(self) -> None:
        """It is too far behind."""
        self.stop(StreamBroken("stream_truncated", "The client read too slowly."))

    # -- called by the client's side

    def pause(self) -> None:
        """The client reads too slowly."""
        self.is_paused = True
        self.flight.balance()

    def resume(self) -> None:
        """The client has caught up."""
        self.is_paused = False
        self.wake()
        self.flight.balance()

    def client_gone(self) -> None:
        """The client left."""
        self.leave()

    # -- called by the flight

    def comment(self, comment: bytes) -> None:
        """Bytes that only keep the connection alive."""
        if self._client is not None:
            self._client.write(comment)

    def wake(self) -> None:
        """There is news."""
        flight = self.flight
        if not self._opened.done() and (flight.is_open or flight.is_over):
            self._opened.set_result(None)
        while self._client is not None and not self.is_paused and self.position < flight.count:
            piece = self._piece()
            if piece:
                self._client.write(piece)
        if not self._is_connected or flight.tail is None:
            return
        if self._client is None or self.position == flight.count:
            self._end(None if flight.tail.error is None else StreamBroken(*flight.tail.error))

    def _piece(self) -> bytes:
        """The next parts, as many as make one write."""
        flight, parts, size = self.flight, [], 0
        while self.position < flight.count and size < _PIECE_BYTES:
            part = flight.part(self.position)
            if self._wants_usage or not flight.is_usage(self.position):
                parts.append(part)
            self.position += 1
            self.read_bytes += len(part)
            size += len(part)
        return b"".join(parts)

    def _end(self, error: StreamBroken | None) -> None:
        self._client = None
        if not self._ended.done():
            self._ended.set_result(error)
        if not self._opened.done():
            self._opened.set_result(None)
