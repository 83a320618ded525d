"""An equal request is in flight: its answer is this one's too, from its first event on."""

from __future__ import annotations

from collections.abc import Callable

from gateway.cache.flight import Follower
from gateway.cache.flights import Flights
from gateway.cache.lookup import Found
from gateway.cached_calls.answering import Answering, entry_of
from gateway.cached_calls.work import FreeHold, Pipeline, Work
from gateway.domain.cache import CachePolicy
from gateway.domain.errors import UpstreamRejected


class Following:
    """Follows flights.

    Args:
        new_id: makes request ids.
        note: told that a request got another one's answer.
    """

    def __init__(
        self,
        answering: Answering,
        flights: Flights,
        new_id: Callable[[], str],
        note: Callable[[Work, str], None],
    ) -> None:
        self._answering = answering
        self._flights = flights
        self._new_id = new_id
        self._note = note

    async def follow(self, work: Work, pipeline: Pipeline, policy: CachePolicy, found: Found) -> bool:
        """Follow a flight; False where it was lost before anything was sent.

        Raises:
            UpstreamRejected: the upstream's verdict on the request itself, which is everyone's.
        """
        keepalive_s = work.snapshot.settings.server.keepalive_comment_s
        flight = self._flights.follow(
            found.keys, found.cache_key, found.flight or "", policy.max_entry_bytes, keepalive_s
        )
        if flight is None:
            return False
        with self._answering.following(flight, work) as follower:
            async with pipeline.hold_free(work) as hold:
                await self._answering.waited(work, follower.opened())
                if await self._share(work, hold, follower):
                    return True
                if isinstance(flight.failure, UpstreamRejected):
                    self._note(work, "shared")
                    raise flight.failure
                await hold.withdraw()
        work.facts.request_id = (
            self._new_id()
        )  # an id is admitted once, and the next admission is another one
        return False

    async def _share(self, work: Work, hold: FreeHold, follower: Follower) -> bool:
        """Send what comes of a flight; False where that is nothing."""
        flight = follower.flight
        head = flight.head
        if head is None:
            return False
        is_live = work.call.stream and head.kind == "stream"
        if not is_live:
            follower.connect(None)
            error = await self._answering.waited(work, follower.ended())
            if error is not None or not flight.is_whole:
                return False
        self._note(work, "shared")
        work.facts.fallback, work.facts.shutdown_date = head.fallback, head.shutdown_date
        if is_live:
            await self._answering.pass_on(work, hold, follower, head)
        else:
            await self._answering.replay(work, hold, entry_of(flight, head))
        return True
