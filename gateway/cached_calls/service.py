"""Which way a call goes: hit, shared, miss or bypass."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.accounting.quote import cap_of
from gateway.cache.canonical import NotCanonical
from gateway.cache.entry import Entry
from gateway.cache.flights import Flights
from gateway.cache.key import Keys, Question
from gateway.cache.lookup import Found, Lookup
from gateway.cache.port import CacheAway, CacheStore
from gateway.cache.rules import is_cacheable
from gateway.cache.scope import Scope
from gateway.cached_calls.answering import Answering
from gateway.cached_calls.following import Following
from gateway.cached_calls.leading import Leading
from gateway.cached_calls.work import Pipeline, Work
from gateway.domain.cache import CachePolicy
from gateway.domain.errors import CacheMiss, StoreUnavailable

_ROUNDS = 3
"""How often a caller looks whose flight was lost; the last time it flies alone."""


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
        self._count = count
        self._wall_clock = wall_clock
        self._lookup = Lookup(store, process, lambda: count("corrupt"))
        self._flights = Flights(store, lambda: count("error"))
        self._answering = Answering(clock)
        self._following = Following(self._answering, self._flights, new_id, self._note)
        self._leading = Leading(
            self._answering, self._lookup, self._flights, lambda: count("error"), wall_clock
        )

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
        self._answering.stop()

    async def aclose(self) -> None:
        """Let go of all flights."""
        await self._leading.aclose()
        await self._flights.aclose()

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
        if found.entry is not None and self._age_s(found.entry) > work.ttl_s(policy):
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
            self._note(work, "miss")
            await self._leading.lead(work, pipeline, policy, found)
        else:
            return await self._following.follow(work, pipeline, policy, found)
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

    async def _hit(self, work: Work, pipeline: Pipeline, policy: CachePolicy, entry: Entry) -> None:
        self._note(work, "hit")
        work.facts.age_s = max(0, int(self._age_s(entry)))
        async with pipeline.hold_free(work) as hold:
            await self._answering.replay(work, hold, entry, policy.replay_pace_ms / 1000)

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
