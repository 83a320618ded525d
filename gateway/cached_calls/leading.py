"""A miss: the call is made for all who come meanwhile, and its answer kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from gateway.cache.entry import Entry
from gateway.cache.flight import Flight, Follower
from gateway.cache.flights import Flights
from gateway.cache.lead import Lead
from gateway.cache.lookup import Found, Lookup
from gateway.cache.port import CacheAway
from gateway.cache.publisher import Publisher
from gateway.cached_calls.answering import NO_ANSWER, Answering
from gateway.cached_calls.work import Pipeline, Work
from gateway.caller import Answer
from gateway.domain.cache import CachePolicy
from gateway.domain.errors import Draining

_CLOSE_S = 1.0


class Leading:
    """Makes calls, each in a task of its own: its first caller may leave before the others.

    Args:
        on_error: told that the store failed.
        wall_clock: unix seconds, for the age of answers.
    """

    def __init__(
        self,
        answering: Answering,
        lookup: Lookup,
        flights: Flights,
        on_error: Callable[[], None],
        wall_clock: Callable[[], float],
    ) -> None:
        self._answering = answering
        self._lookup = lookup
        self._flights = flights
        self._on_error = on_error
        self._wall_clock = wall_clock
        self._flying: set[asyncio.Task[None]] = set()

    async def lead(self, work: Work, pipeline: Pipeline, policy: CachePolicy, found: Found | None) -> None:
        """Make the call. It goes on while anyone waits for it.

        Args:
            found: where the answer is kept, and the flight to lead; None where the store is away.
        """
        flight = Flight(policy.max_entry_bytes)
        publisher = None
        if found is not None and found.flight is not None:
            publisher = self._flights.publish(found.keys, found.cache_key, found.flight, flight)
        lead = Lead(flight, work.facts, publisher)
        with self._answering.following(flight, work) as follower:
            flying = asyncio.create_task(self._fly(work, pipeline, policy, found, lead, publisher))
            self._flying.add(flying)
            flying.add_done_callback(self._flying.discard)
            try:
                await follower.opened()
                if flight.failure is not None:
                    raise flight.failure
                await _pass_on(work, follower, lead.answer or NO_ANSWER)
            finally:
                follower.leave()
                await asyncio.wait({flying})  # its record is of this request, which is not over before

    async def aclose(self) -> None:
        """Give up what is still in the air; nobody waits for it any more."""
        for flying in self._flying:
            flying.cancel()
        if self._flying:
            await asyncio.wait(self._flying, timeout=_CLOSE_S)

    async def _fly(
        self,
        work: Work,
        pipeline: Pipeline,
        policy: CachePolicy,
        found: Found | None,
        lead: Lead,
        publisher: Publisher | None,
    ) -> None:
        """The call itself, in a task of its own, as its first caller may leave before the others."""
        call = msgspec.structs.replace(work.call, wants_usage=work.call.stream)
        try:
            await pipeline.lead(msgspec.structs.replace(work, call=call), lead)
            entry = lead.entry(work.call, work.target, policy.max_entry_bytes, self._wall_clock())
            steps = []
            if found is not None and entry is not None:
                steps.append(self._keep(found, entry, work.ttl_s(policy)))
            if publisher is not None:
                steps.append(publisher.end(lead.tail()))
            await asyncio.gather(*steps)  # in this order, in one write
            lead.land()
        except BaseException as error:  # noqa: BLE001  # a task's boundary: whoever follows is told
            is_cancelled = isinstance(error, asyncio.CancelledError)
            failure = Draining("The call was given up.") if is_cancelled else error
            if publisher is not None:
                await publisher.give_up(failure)
            lead.fail(failure)

    async def _keep(self, found: Found, entry: Entry, ttl_s: int) -> None:
        try:
            await self._lookup.keep(found, entry, ttl_s)
        except CacheAway:
            self._on_error()


async def _pass_on(work: Work, follower: Follower, answer: Answer) -> None:
    """Send what comes to the caller who pays for it."""
    caller = work.caller
    if work.call.stream:
        work.answering()
        follower.connect(caller.start_stream(follower, answer))
        caller.finish_stream(await follower.ended())
        return
    follower.connect(None)
    error = await follower.ended()
    work.answering()
    if error is not None:
        raise Draining(str(error))
    caller.reply(follower.flight.part(0), answer)
