"""Calls of targets whose answers are kept: taken from the cache, shared in flight, or made and kept.

    look -- an entry: replay it                                                  hit
      |---- a flight of another caller: follow it, from its first event         shared
      |---- nothing: make the call, for all who come meanwhile, and keep it     miss
      `---- not cacheable: make the call for this caller alone                  bypass

Hits and followers are admitted like every request, but hold no tokens and no money. Whatever the cache's
store does not do is a miss: nothing else changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import msgspec

from gateway.accounting.quote import cap_of
from gateway.cache.canonical import NotCanonical
from gateway.cache.entry import Entry
from gateway.cache.flight import Flight, Follower, Head, Tail
from gateway.cache.flights import Flights
from gateway.cache.key import Keys, Question
from gateway.cache.lead import Lead
from gateway.cache.lookup import Found, Lookup
from gateway.cache.port import CacheAway, CacheStore
from gateway.cache.publisher import Publisher
from gateway.cache.replay import as_events, as_json
from gateway.cache.rules import is_cacheable
from gateway.cache.scope import Scope
from gateway.caller import Answer, Caller
from gateway.domain.cache import CacheAsk, CachePolicy
from gateway.domain.call import Call, CallOptions
from gateway.domain.errors import (
    CacheMiss,
    Draining,
    StoreUnavailable,
    StreamBroken,
    UpstreamRejected,
)
from gateway.domain.facts import Facts
from gateway.domain.plan import Target
from gateway.domain.principal import Principal
from gateway.pricing.cost import cost
from gateway.snapshot import Snapshot

_T = TypeVar("_T")

_ROUNDS = 3
"""How often a caller looks whose flight was lost; the last time it flies alone."""


class FreeHold(Protocol):
    """An admitted call that costs nothing."""

    async def settle_free(self) -> None:
        """Settle it: it was answered, and nothing was spent."""

    async def withdraw(self) -> None:
        """Give back what it holds, as if it had not been admitted."""


class Work(msgspec.Struct, frozen=True):
    """One call to be served, and what the pipeline knows of it.

    Args:
        answering: to be called before anything is sent.
    """

    call: Call
    target: Target
    options: CallOptions
    principal: Principal
    snapshot: Snapshot
    caller: Caller
    facts: Facts
    answering: Callable[[], None]

    @property
    def ask(self) -> CacheAsk:
        """What the caller asks of the cache."""
        return self.options.cache or _NOTHING


class Pipeline(Protocol):
    """What the pipeline does for a call that the cache has a part in."""

    async def serve(self, work: Work) -> None:
        """Admit the call, make it, and answer its caller."""

    async def lead(self, work: Work, lead: Lead) -> None:
        """The same, for a caller that stands for many: it leaves when they have."""

    def hold_free(self, work: Work) -> AbstractAsyncContextManager[FreeHold]:
        """Admit a call that holds neither tokens nor money."""


class _NoAnswer:
    """Stands for an upstream's answer where there is none."""

    def header(self, name: bytes) -> bytes | None:  # noqa: ARG002  # the port's signature
        return None


_NOTHING = CacheAsk()
_NO_ANSWER = _NoAnswer()


class CachedCalls:
    """Serves calls of targets whose answers are kept, and of callers who ask something of the cache.

    Args:
        store: the cache's.
        secret: the gateway's, None while it is not known yet.
        process: identifies this process in the store, never used by another one.
        new_id: makes request ids.
        count: told of each call's word (hit, miss, shared, bypass), of failures of the store (error) and of
            entries that could not be read (corrupt).
        clock: monotonic seconds, the clock of `Facts`.
        wall_clock: unix seconds, for the age of answers.
    """

    def __init__(
        self,
        store: CacheStore,
        secret: Callable[[], bytes | None],
        process: str,
        *,
        new_id: Callable[[], str],
        count: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret
        self._keys: tuple[bytes, Keys] | None = None
        self._new_id = new_id
        self._count = count
        self._clock = clock
        self._wall_clock = wall_clock
        self._lookup = Lookup(store, process, lambda: count("corrupt"))
        self._flights = Flights(store, lambda: count("error"))
        self._followers: set[Follower] = set()

    async def serve(self, work: Work, pipeline: Pipeline) -> None:
        """Serve one call. Refusals, and failures before anything was sent, are raised."""
        keys, policy = self._current_keys(), work.target.cache
        question = _question(work, policy) if policy is not None else None
        if keys is None or policy is None or question is None:
            await self._bypass(work, pipeline)
            return
        for rounds_left in reversed(range(_ROUNDS)):
            found = await self._find(work, keys, question, policy, fly=rounds_left > 0)
            if await self._serve_as_found(work, pipeline, policy, found):
                return

    def stop_calls(self) -> None:
        """End what streams with `gateway_draining`: the drain's deadline has come."""
        for follower in list(self._followers):
            follower.stop(StreamBroken("gateway_draining", "The gateway is shutting down."))

    async def aclose(self) -> None:
        """Let go of all flights."""
        await self._flights.aclose()

    # -- what is there, and what to do

    async def _find(
        self, work: Work, keys: Keys, question: Question, policy: CachePolicy, *, fly: bool
    ) -> Found | None:
        """Look; None where the store does not say, unless the policy then refuses the call.

        Callers with wishes of their own take part in no flight, which goes by its leader's.
        """
        ask, options = work.ask, work.options
        fly = fly and options.fallback and options.timeout_s is None and ask.directive is None
        read = ask.directive != "no-cache"
        try:
            found = await self._lookup.find(keys, question, work.target.alias, read=read, fly=fly)
        except CacheAway as error:
            self._count("error")
            if work.snapshot.settings.on_store_failure.cache == "closed":
                raise StoreUnavailable("The response cache is away. Try again shortly.") from error
            return None
        if found.entry is not None and self._age_s(found.entry) > _ttl_s(ask, policy):
            return Found(found.cache_key, keys)
        return found

    async def _serve_as_found(
        self, work: Work, pipeline: Pipeline, policy: CachePolicy, found: Found | None
    ) -> bool:
        """Serve it; False where what was found came to nothing, and it is to be looked again."""
        if found is not None and found.entry is not None:
            await self._hit(work, pipeline, policy, found.entry)
        elif work.ask.directive == "only":
            await self._refuse_miss(work, pipeline)
        elif found is None or found.leads or found.flight is None:
            await self._lead(work, pipeline, policy, found)
        else:
            return await self._follow(work, pipeline, policy, found)
        return True

    async def _bypass(self, work: Work, pipeline: Pipeline) -> None:
        if work.ask.directive == "only":
            await self._refuse_miss(work, pipeline)
            return
        if work.target.cache is not None:
            self._count("bypass")
        work.facts.cache = "bypass"
        await pipeline.serve(work)

    async def _refuse_miss(self, work: Work, pipeline: Pipeline) -> None:
        """Refuse a caller that wants a kept answer or none; its limits come first."""
        self._note(work, "miss")
        async with pipeline.hold_free(work):
            raise CacheMiss("No answer to this request is in the cache (x-tunegate-cache: only).")

    # -- hit

    async def _hit(self, work: Work, pipeline: Pipeline, policy: CachePolicy, entry: Entry) -> None:
        self._note(work, "hit")
        work.facts.age_s = max(0, int(self._age_s(entry)))
        async with pipeline.hold_free(work) as hold:
            await self._replay(work, hold, entry, policy.replay_pace_ms / 1000)

    async def _replay(self, work: Work, hold: FreeHold, entry: Entry, pace_s: float) -> None:
        """Send an answer that is there, in the form that is asked for."""
        caller, facts = work.caller, work.facts
        facts.model, facts.upstream = entry.model, entry.upstream
        facts.service_tier = entry.service_tier
        facts.saved_nanousd = _saved(work, entry)
        work.answering()
        if not work.call.stream:
            await hold.settle_free()
            caller.reply(as_json(entry), _NO_ANSWER)
            return
        flight = Flight(entry.size)
        flight.open(Head("stream", entry.model, entry.upstream))
        with self._following(flight, work) as follower:
            facts.first_token_at = self._clock()
            follower.connect(caller.start_stream(follower, _NO_ANSWER))
            for event in as_events(entry):
                if pace_s and flight.count:
                    await asyncio.sleep(pace_s)
                flight.write(event)
                if follower.is_over:
                    break
            flight.close(Tail())
            await self._finish(work, hold, follower)

    # -- shared

    async def _follow(self, work: Work, pipeline: Pipeline, policy: CachePolicy, found: Found) -> bool:
        """Follow a flight; False where it was lost before anything was sent."""
        keepalive_s = work.snapshot.settings.server.keepalive_comment_s
        flight = self._flights.follow(
            found.keys, found.cache_key, found.flight or "", policy.max_entry_bytes, keepalive_s
        )
        if flight is None:
            return False
        with self._following(flight, work) as follower:
            async with pipeline.hold_free(work) as hold:
                await self._waited(work, follower.opened())
                if flight.head is not None and await self._share(work, hold, follower, flight.head):
                    return True
                if isinstance(flight.failure, UpstreamRejected):
                    self._note(work, "shared")
                    raise flight.failure
                await hold.withdraw()
        work.facts.request_id = self._new_id()  # one admission each, and the next one is another one's
        return False

    async def _share(self, work: Work, hold: FreeHold, follower: Follower, head: Head) -> bool:
        """Send what comes of a flight; False where that is nothing."""
        flight, facts = follower.flight, work.facts
        is_live = work.call.stream and head.kind == "stream"
        if not is_live:
            follower.connect(None)
            if await self._waited(work, follower.ended()) is not None or not flight.is_whole:
                return False
        self._note(work, "shared")
        facts.fallback, facts.shutdown_date = head.fallback, head.shutdown_date
        if not is_live:
            await self._replay(work, hold, _entry_of(flight, head), 0.0)
            return True
        facts.model, facts.upstream = head.model, head.upstream
        facts.first_token_at = self._clock()
        work.answering()
        follower.connect(work.caller.start_stream(follower, _NO_ANSWER))
        await self._finish(work, hold, follower)
        return True

    async def _finish(self, work: Work, hold: FreeHold, follower: Follower) -> None:
        """Wait for the end of a stream, settle, and say it."""
        error = await follower.ended()
        facts, flight = work.facts, follower.flight
        facts.last_byte_at = self._clock()
        facts.error_type = None if error is None else error.code
        if facts.cache == "shared" and flight.head is not None and flight.tail is not None:
            facts.service_tier = flight.tail.service_tier
            facts.saved_nanousd = _saved(work, _entry_of(flight, flight.head))
        await hold.settle_free()
        work.caller.finish_stream(error)

    # -- miss

    async def _lead(self, work: Work, pipeline: Pipeline, policy: CachePolicy, found: Found | None) -> None:
        """Make the call for all who come meanwhile. It goes on while any of them waits."""
        self._note(work, "miss")
        flight = Flight(policy.max_entry_bytes)
        publisher = None
        if found is not None and found.flight is not None:
            publisher = self._flights.publish(found.keys, found.cache_key, found.flight, flight)
        lead = Lead(flight, work.facts, publisher)
        with self._following(flight, work) as follower:
            flying = asyncio.create_task(self._fly(work, pipeline, policy, found, lead, publisher))
            try:
                await follower.opened()
                if flight.failure is not None:
                    raise flight.failure
                await self._pass_on(work, follower, lead.answer or _NO_ANSWER)
            finally:
                follower.leave()
                await asyncio.wait({flying})  # its record is of this request, which is not over before

    async def _pass_on(self, work: Work, follower: Follower, answer: Answer) -> None:
        """Send what comes to the caller that leads."""
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
                steps.append(self._keep(found, entry, _ttl_s(work.ask, policy)))
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
            self._count("error")

    # -- small things

    @contextlib.contextmanager
    def _following(self, flight: Flight, work: Work) -> Iterator[Follower]:
        """Read a flight for as long as the block runs."""
        follower = flight.follow(asyncio.get_running_loop(), wants_usage=work.call.wants_usage)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            follower.leave()

    async def _waited(self, work: Work, news: Awaitable[_T]) -> _T:
        """Wait for somebody else's upstream; that is no time of ours."""
        began = self._clock()
        try:
            return await news
        finally:
            work.facts.upstream_s += self._clock() - began

    def _current_keys(self) -> Keys | None:
        secret = self._secret()
        if secret is None:
            return None
        if self._keys is None or self._keys[0] != secret:
            self._keys = secret, Keys(secret)
        return self._keys[1]

    def _age_s(self, entry: Entry) -> float:
        return self._wall_clock() - entry.created_at

    def _note(self, work: Work, word: str) -> None:
        work.facts.cache = word
        self._count(word)


def _question(work: Work, policy: CachePolicy) -> Question | None:
    """What is asked; None for what is not cacheable."""
    call, target, options = work.call, work.target, work.options
    cap = cap_of(target, work.principal)
    if not is_cacheable(call, target, policy, options.cache, pinned=options.pin is not None, cap=cap):
        return None
    try:
        return Question.of(Scope(work.principal), call, target, policy.fingerprint, cap)
    except NotCanonical:
        return None


def _ttl_s(ask: CacheAsk, policy: CachePolicy) -> int:
    """How old an answer may be: what its caller says, and no older than the alias does."""
    return policy.ttl_s if ask.ttl_s is None else min(ask.ttl_s, policy.ttl_s)


def _entry_of(flight: Flight, head: Head) -> Entry:
    """A flight that is over, as if it had been kept."""
    tail = flight.tail or Tail()
    return Entry(head.kind, flight.parts(), 0.0, head.model, head.upstream, tail.usage, tail.service_tier)


def _saved(work: Work, entry: Entry) -> int:
    """What an answer would have cost, nano-dollars; 0 where nobody knows."""
    price = work.snapshot.prices.price(entry.upstream, entry.model, entry.service_tier)
    if price is None or entry.usage is None:
        return 0
    return cost(entry.usage, price) or 0
