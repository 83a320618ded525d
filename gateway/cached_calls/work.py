"""One call that the cache has a part in, and what is asked of the pipeline for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from gateway.cache.entry import Entry
from gateway.cache.lead import Lead
from gateway.caller import Caller
from gateway.domain.cache import CacheAsk, CachePolicy
from gateway.domain.call import Call, CallOptions
from gateway.domain.facts import Facts
from gateway.domain.plan import Target
from gateway.domain.principal import Principal
from gateway.pricing.cost import cost
from gateway.snapshot import Snapshot


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

    def ttl_s(self, policy: CachePolicy) -> int:
        """How old an answer may be: what its caller says, and no older than the alias does."""
        asked = self.ask.ttl_s
        return policy.ttl_s if asked is None else min(asked, policy.ttl_s)

    def saved_nanousd(self, entry: Entry) -> int:
        """What an answer would have cost now; 0 where nobody knows."""
        price = self.snapshot.prices.price(entry.upstream, entry.model, entry.service_tier)
        if price is None or entry.usage is None:
            return 0
        return cost(entry.usage, price) or 0


class Pipeline(Protocol):
    """What the pipeline does for a call that the cache has a part in."""

    async def serve(self, work: Work) -> None:
        """Admit the call, make it, and answer its caller."""

    async def lead(self, work: Work, lead: Lead) -> None:
        """The same, for a caller that stands for many: it leaves when they have."""

    def hold_free(self, work: Work) -> AbstractAsyncContextManager[FreeHold]:
        """Admit a call that holds neither tokens nor money."""


_NOTHING = CacheAsk()
