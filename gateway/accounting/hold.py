"""A call at the desk: admitted when it is entered, settled once however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from gateway.accounting.bill import FREE, NOTHING, Spent, estimate, record_of
from gateway.accounting.case import Case
from gateway.domain.errors import GatewayError
from gateway.domain.usage import Usage
from gateway.limits.values import Admission, Settlement

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

    def settle(self, settlement: Settlement) -> Ending:
        """Keep it, in the store or on disk; bounded in time, never raises."""

    async def withdraw(self, admission: Admission) -> None:
        """Give back what a call holds, and keep no record; bounded in time, never raises."""


class Hold:
    """What a call holds of its key's limits and money, for as long as the block of `async with` runs.

    Every exit settles it. Where settling takes one await there is no coroutine of its own: each would be
    resumed with what it awaits, in every call.
    """

    __slots__ = ("_admission", "_desk", "admitted_ms", "case", "held", "is_settled", "was_reserved")

    def __init__(self, desk: Desk, case: Case) -> None:
        self._desk = desk
        self.case = case
        self.is_settled = False

    def admitted(self, case: Case, admission: Admission, at_ms: int, *, was_reserved: bool) -> None:
        """From now on there is something to settle.

        Args:
            case: by which it was admitted in the end.
            at_ms: the day and month that its cost counts to.
            was_reserved: False where it was admitted without the store.
        """
        self.case = case
        self.held = case.terms.held
        self.admitted_ms = at_ms
        self.was_reserved = was_reserved
        self._admission = admission

    def __aenter__(self) -> Coroutine[Any, Any, Hold]:
        return self._desk.admit(self)

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            facts = self.case.facts
            if isinstance(error, GatewayError):
                facts.error_type = self._desk.name_of(error)
            elif isinstance(error, asyncio.CancelledError):
                facts.error_type = facts.error_type or "client_left"  # whoever else gave it up has said why
        if not self.is_settled:
            # Shielded: a call is cancelled when its client leaves, and is settled all the same.
            await asyncio.shield(self.settle_unserved())

    def settle(self, usage: Usage | None, text: str | None) -> Ending:
        """Settle the call that was served: in the store, or in the journal, when that was awaited.

        Args:
            usage: as the upstream reported it.
            text: what the model wrote, where that has to be counted; None for a complete answer with usage.
        """
        if text is None and usage is not None:
            return self._settle(Spent(usage, "exact", "upstream"))
        return self._settle_counted(usage, text or "")

    async def settle_free(self) -> None:
        """Settle a call that was served without a model's work."""
        await self._settle(FREE)

    async def withdraw(self) -> None:
        """Give back what it holds, as if it had not been admitted: another admission takes its place."""
        if not self.is_settled:
            self.is_settled = True
            await self._desk.withdraw(self._admission)

    def settle_unserved(self) -> Ending:
        """Settle a call that got no answer: released, unless an upstream was at work when its client left."""
        tried = self.case.facts.tried
        if tried and tried[-1].outcome == "client_left":
            return self.settle(None, "")
        return self._settle(NOTHING)

    async def _settle_counted(self, usage: Usage | None, text: str) -> None:
        case = self.case
        await self._settle(await estimate(case.call, case.facts.model or "", usage, text))

    def _settle(self, spent: Spent) -> Ending:
        if self.is_settled:
            return _nothing()
        self.is_settled = True
        case, terms = self.case, self.case.terms
        principal = terms.principal
        record = record_of(
            case.facts,
            spent,
            terms.snapshot.prices,
            key=principal.key_id,
            team=principal.team,
            admitted_ms=self.admitted_ms,
            now=self._desk.clock(),
        )
        case.facts.cost_nanousd = record.cost_nanousd
        return self._desk.settle(
            record.settlement(
                admitted_ms=self.admitted_ms,
                tokens_actual=(record.prompt_tokens or 0) + (record.completion_tokens or 0),
                tpm=terms.bounds.tpm,
                has_credit=principal.has_credit,
                was_reserved=self.was_reserved,
            )
        )


async def _nothing() -> None:
    """It is settled already."""
