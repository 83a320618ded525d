"""An admitted call, and its one settlement however it ends."""

from __future__ import annotations

from typing import Protocol

from gateway.accounting.bill import FREE, NOTHING, Spent, estimate, record_of
from gateway.accounting.case import Case
from gateway.accounting.quote import cap_of
from gateway.attempts.served import Held
from gateway.domain.usage import Usage
from gateway.limits.values import Admission, Settlement


class Settler(Protocol):
    """Takes settlements."""

    def clock(self) -> float:
        """Monotonic seconds, the clock of `Facts`."""

    async def settle(self, settlement: Settlement) -> None:
        """Keep it, in the store or on disk; bounded in time, never raises."""

    async def withdraw(self, admission: Admission) -> None:
        """Give back what a call holds, and keep no record; bounded in time, never raises."""


class Hold:
    """What an admitted call holds of its key's limits and money.

    Args:
        admitted_ms: the day and month that its cost counts to.
        was_reserved: False where it was admitted without the store.
    """

    def __init__(
        self, settler: Settler, case: Case, admission: Admission, admitted_ms: int, *, was_reserved: bool
    ) -> None:
        self.held = Held(case.target, cap_of(case.target, case.principal))
        self.is_settled = False
        self._settler = settler
        self._case = case
        self._admission = admission
        self.admitted_ms = admitted_ms
        self._was_reserved = was_reserved

    async def settle(self, usage: Usage | None, text: str | None) -> None:
        """Settle the call that was served: in the store, or in the journal, when this returns.

        Args:
            usage: as the upstream reported it.
            text: what the model wrote, where that has to be counted; None for a complete answer with usage.
        """
        if text is None and usage is not None:
            await self._settle(Spent(usage, "exact", "upstream"))
        else:
            model = self._case.facts.model or ""
            await self._settle(await estimate(self._case.call, model, usage, text or ""))

    async def settle_free(self) -> None:
        """Settle a call that was served without a model's work."""
        await self._settle(FREE)

    async def withdraw(self) -> None:
        """Give back what it holds, as if it had not been admitted: another admission takes its place."""
        if not self.is_settled:
            self.is_settled = True
            await self._settler.withdraw(self._admission)

    async def settle_unserved(self) -> None:
        """Settle a call that got no answer: released, unless an upstream was at work when its client left."""
        tried = self._case.facts.tried
        if tried and tried[-1].outcome == "client_left":
            await self.settle(None, "")
        else:
            await self._settle(NOTHING)

    async def _settle(self, spent: Spent) -> None:
        if self.is_settled:
            return
        self.is_settled = True
        case, principal = self._case, self._case.principal
        record = record_of(
            case.facts,
            spent,
            case.snapshot.prices,
            key=principal.key_id,
            team=principal.team,
            admitted_ms=self.admitted_ms,
            now=self._settler.clock(),
        )
        case.facts.cost_nanousd = record.cost_nanousd
        settlement = record.settlement(
            admitted_ms=self.admitted_ms,
            tokens_actual=(record.prompt_tokens or 0) + (record.completion_tokens or 0),
            tpm=self._admission.bounds.tpm,
            has_credit=principal.has_credit,
            was_reserved=self._was_reserved,
        )
        await self._settler.settle(settlement)
