"""How an answer that somebody else paid for leaves: whole, or event by event."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from gateway.cache.entry import Entry
from gateway.cache.flight import Flight, Follower, Head, Tail
from gateway.cache.replay import as_events, as_json
from gateway.cached_calls.work import FreeHold, Work
from gateway.domain.errors import StreamBroken

_T = TypeVar("_T")


class _NoAnswer:
    """Stands for an upstream's answer where there is none."""

    def header(self, name: bytes) -> bytes | None:  # noqa: ARG002  # the port's signature
        return None

    def has_any(self, beginning: bytes) -> bool:  # noqa: ARG002  # likewise
        return False


NO_ANSWER = _NoAnswer()


class Answering:
    """Sends answers to clients.

    Args:
        clock: monotonic seconds, the clock of `Facts`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._followers: set[Follower] = set()

    async def replay(self, work: Work, hold: FreeHold, entry: Entry, pace_s: float = 0.0) -> None:
        """Send an answer that is there, in the form that is asked for."""
        facts = work.facts
        facts.model, facts.upstream = entry.model, entry.upstream
        facts.service_tier = entry.service_tier
        facts.saved_nanousd = work.saved_nanousd(entry)
        work.answering()
        if work.call.stream:
            await self._stream(work, hold, entry, pace_s)
        else:
            await hold.settle_free()
            work.caller.reply(as_json(entry), NO_ANSWER)

    async def pass_on(self, work: Work, hold: FreeHold, follower: Follower, head: Head) -> None:
        """Send a stream as it comes."""
        facts, flight = work.facts, follower.flight
        facts.model, facts.upstream = head.model, head.upstream
        work.answering()
        self._connect(work, follower)
        error = await follower.ended()
        if flight.tail is not None:
            facts.service_tier = flight.tail.service_tier
            facts.saved_nanousd = work.saved_nanousd(entry_of(flight, head))
        await self._finish(work, hold, error)

    @contextlib.contextmanager
    def following(self, flight: Flight, work: Work) -> Iterator[Follower]:
        """Read a flight for as long as the block runs."""
        follower = flight.follow(asyncio.get_running_loop(), wants_usage=work.call.wants_usage)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            follower.leave()

    async def waited(self, work: Work, news: Awaitable[_T]) -> _T:
        """Wait for somebody else's upstream; that is no time of ours."""
        began = self._clock()
        try:
            return await news
        finally:
            work.facts.upstream_s += self._clock() - began

    def stop(self) -> None:
        """End what streams with `gateway_draining`."""
        for follower in list(self._followers):
            follower.stop(StreamBroken("gateway_draining", "The gateway is shutting down."))

    async def _stream(self, work: Work, hold: FreeHold, entry: Entry, pace_s: float) -> None:
        flight = Flight(entry.size)
        flight.open(Head("stream", entry.model, entry.upstream))
        with self.following(flight, work) as follower:
            self._connect(work, follower)
            for event in as_events(entry):
                if pace_s and flight.count:
                    await follower.ended_within(pace_s)
                if follower.is_over:
                    break
                flight.write(event)
            flight.close(Tail())
            await self._finish(work, hold, await follower.ended())

    def _connect(self, work: Work, follower: Follower) -> None:
        work.facts.first_token_at = self._clock()
        follower.connect(work.caller.start_stream(follower, NO_ANSWER))

    async def _finish(self, work: Work, hold: FreeHold, error: StreamBroken | None) -> None:
        """Settle a stream, then say how it ended."""
        work.facts.last_byte_at = self._clock()
        work.facts.error_type = None if error is None else error.code
        await hold.settle_free()
        work.caller.finish_stream(error)


def entry_of(flight: Flight, head: Head) -> Entry:
    """A flight that is over, as if it had been kept."""
    tail = flight.tail or Tail()
    return Entry(head.kind, flight.parts(), 0.0, head.model, head.upstream, tail.usage, tail.service_tier)
