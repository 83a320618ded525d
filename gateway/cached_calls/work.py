"""One call that the cache has a part in, and what is asked of the pipeline for it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from gateway.cache.entry import Entry
from gateway.cache.lead import Lead
from gateway.caller import Caller
from gateway.domain.cache import CacheAsk, CachePolicy
from gateway.domain.call import Call, CallOptions
from gateway.domain.errors import GatewayError
from gateway.domain.facts import Facts
from gateway.domain.plan import Target
from gateway.domain.principal import Principal
from gateway.domain.settable import settable
from gateway.pricing.cost import cost
from gateway.snapshot import Snapshot


class FreeHold(Protocol):
    """An admitted call that costs nothing."""

    async def settle_free(self) -> None:
        """Settle it: it was answered, and nothing was spent."""

    async def withdraw(self) -> None:
        """Give back what it holds, as if it had not been admitted."""


@settable
class Work(msgspec.Struct, eq=False):
    """One call that is served, and what the pipeline knows of it.

    While nothing was sent of it, it can be given up as a whole, and its upstream with it. It is when its
    client leaves, and when the process must.

    Args:
        task: that serves it; None once it is being answered.
        has_place: among the calls that the gate lets in.
        instead: what its caller is told where the process has given it up.
    """

    call: Call
    target: Target
    options: CallOptions
    principal: Principal
    snapshot: Snapshot
    caller: Caller
    facts: Facts
    task: asyncio.Task[Any] | None = None
    has_place: bool = False
    instead: GatewayError | None = None

    def answering(self) -> None:
        """Something is about to be sent: whoever sends it watches the client from now on."""
        self.task = self.instead = None

    def interrupt(self, instead: GatewayError, error_type: str) -> None:
        """Give the call up; its caller is told `instead`, and its record says `error_type`."""
        if self.task is not None and self.instead is None:
            self.instead = instead
            self.facts.error_type = error_type
            self.task.cancel()

    def client_gone(self) -> None:
        """Give the call up; nobody is there to be told."""
        if self.task is not None:
            self.task.cancel()

    def pause(self) -> None:
        """Nothing is flowing yet."""

    def resume(self) -> None:
        """Nothing is flowing yet."""

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
