"""A call at the desk: admitted when it is entered, settled once however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol

import msgspec

from gateway.accounting.bill import FREE, NOTHING, Bill, Spent, bill_of, estimate
from gateway.accounting.quote import most_expensive, most_prompt_tokens, payable
from gateway.accounting.terms import Terms
from gateway.attempts.served import Held
from gateway.domain.call import Call
from gateway.domain.errors import GatewayError
from gateway.domain.facts import Facts
from gateway.domain.plan import Target
from gateway.domain.principal import Principal
from gateway.domain.settable import settable
from gateway.domain.usage import Usage
from gateway.limits.estimate import Size
from gateway.limits.values import Admission

Ending = Coroutine[Any, Any, object]
"""To be awaited; what it returns is for nobody."""


class Desk(Protocol):
    """Admits holds and takes settlements."""

    def clock(self) -> float:
        """Monotonic seconds, the clock of `Facts`."""

    def name_of(self, error: GatewayError) -> str:
        """The word that metrics and the ledger have for an error."""

    async def admit(self, hold: Hold) -> Hold:
        """The hold, once its call is admitted. Raises where it is not."""

    def end(self, bill: Bill) -> Ending:
        """Settle a call by its bill, in the store or on disk; bounded in time, never raises."""

    def end_uncounted(self, bill: Bill) -> Ending:
        """The same of one that was admitted without the store."""

    async def withdraw(self, hold: Hold) -> None:
        """Give back what a call holds, and keep no record; bounded in time, never raises."""


@settable
class Hold(msgspec.Struct, eq=False):
    """What a call asks and holds of its key's limits and money, while the block of `async with` runs.

    Every exit settles it. An `Admission` is made of it, and a `Settlement` of its `Bill`, only where the
    store does not take it at once. Where settling takes one await there is no coroutine of its own: each
    would be resumed with what it awaits, in every call.

    Args:
        size: what the body says of its size.
        held: what serves it, once it is admitted.
        tokens: taken from the tokens a minute until it is settled.
        bound_nanousd: the most that it may cost; None where its key does not pay.
        admitted_ms: the day and month that its cost counts to.
        was_reserved: False where it was admitted without the store.
    """

    desk: Desk
    call: Call
    size: Size
    terms: Terms
    facts: Facts
    held: Held
    tokens: int
    bound_nanousd: int | None = None
    admitted_ms: int = 0
    was_reserved: bool = True
    is_settled: bool = False

    # -- asking

    def ask(self) -> Awaitable[list[int]]:
        """Ask the store to admit it: the reply of `admit.lua`. Raises `StoreError`, also at once."""
        terms = self.terms
        packed = terms.admission.packed(self.facts.request_id, self.tokens, self.bound_nanousd)
        return terms.ask(packed)

    def weigh(self) -> None:
        """Reckon what it asks of its key's limits and money."""
        size, terms = self.size, self.terms
        self.tokens = size.likely_tokens(terms.likely_output_tokens, terms.longest_answer)
        self.bound_nanousd = None
        if terms.pays:
            self.bound_nanousd = self.most_nanousd(most_prompt_tokens(self.call, size))

    def most_nanousd(self, prompt_tokens: int) -> int:
        """The most that it may cost, both attempts of a hedged call."""
        terms, target = self.terms, self.terms.target
        prices = terms.snapshot.prices
        once = most_expensive(self.call, self.size, target, terms.principal, prices, prompt_tokens)
        return 2 * once if target.hedge else once

    def target_for(self, principal: Principal) -> Target:
        """What may serve the same call, by its key as the store has it now."""
        terms = self.terms
        return payable(self.call, terms.target, terms.snapshot.prices) if principal.pays else terms.target

    def change(self, terms: Terms) -> None:
        """Ask on other terms from now on."""
        self.terms = terms
        self.held = terms.held
        self.weigh()

    def admission(self) -> Admission:
        """What it asks, as a value of its own."""
        return msgspec.structs.replace(
            self.terms.asked,
            request_id=self.facts.request_id,
            tokens=self.tokens,
            bound_nanousd=self.bound_nanousd,
        )

    # -- holding

    def __aenter__(self) -> Coroutine[Any, Any, Hold]:
        return self.desk.admit(self)

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            facts = self.facts
            if isinstance(error, GatewayError):
                facts.error_type = self.desk.name_of(error)
            elif isinstance(error, asyncio.CancelledError):
                facts.error_type = facts.error_type or "client_left"  # whoever else gave it up has said why
        if not self.is_settled:
            # Shielded: a call is cancelled when its client leaves, and is settled all the same.
            await asyncio.shield(self.settle_unserved())

    # -- settling

    def settle(self, usage: Usage | None, text: str | None) -> Ending:
        """Settle the call that was served: in the store, or in the journal, when that was awaited.

        Args:
            usage: as the upstream reported it.
            text: what the model wrote, where that has to be counted; None for a complete answer with usage.
        """
        if text is None and usage is not None:
            return self._settle((usage, "exact", "upstream"))
        return self._settle_counted(usage, text or "")

    async def settle_free(self) -> None:
        """Settle a call that was served without a model's work."""
        await self._settle(FREE)

    async def withdraw(self) -> None:
        """Give back what it holds, as if it had not been admitted: another admission takes its place."""
        if not self.is_settled:
            self.is_settled = True
            await self.desk.withdraw(self)

    def settle_unserved(self) -> Ending:
        """Settle a call that got no answer: released, unless an upstream was at work when its client left."""
        tried = self.facts.tried
        if tried and tried[-1].outcome == "client_left":
            return self.settle(None, "")
        return self._settle(NOTHING)

    async def _settle_counted(self, usage: Usage | None, text: str) -> None:
        await self._settle(await estimate(self.call, self.facts.model or "", usage, text))

    def _settle(self, spent: Spent) -> Ending:
        if self.is_settled:
            return _nothing()
        self.is_settled = True
        facts, desk = self.facts, self.desk
        bill = bill_of(facts, spent, self.terms, self.admitted_ms, desk.clock())
        facts.cost_nanousd = bill.record.cost_nanousd
        return desk.end(bill) if self.was_reserved else desk.end_uncounted(bill)


class FreeHold(Hold, eq=False):
    """Of a call that somebody else's answer serves: it counts as a request, and can spend nothing.

    Nothing of it has to have a price or a size.
    """

    def weigh(self) -> None:
        """A request, and a call at once."""
        self.tokens = self.bound_nanousd = 0

    def most_nanousd(self, prompt_tokens: int) -> int:  # noqa: ARG002  # as of any call
        """Nothing."""
        return 0

    def target_for(self, principal: Principal) -> Target:  # noqa: ARG002  # as of any call
        """What may serve the same call."""
        return self.terms.target


NO_SIZE = Size(prompt_bytes=0, media_bytes=0, media=0, answers=0, cap=None)
"""Of a call whose body does not matter."""


async def _nothing() -> None:
    """It is settled already."""
