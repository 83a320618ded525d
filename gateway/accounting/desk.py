"""Admission: what the store says of a call, and what the policy says while the store is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from gateway.accounting.case import NO_SIZE, Case, FreeCase
from gateway.accounting.hold import Hold
from gateway.accounting.quote import payable
from gateway.accounting.terms import KeptTerms
from gateway.domain.call import Call
from gateway.domain.errors import BadKey, BudgetSpent, GatewayError, RateLimited, StoreUnavailable
from gateway.domain.facts import Facts
from gateway.domain.plan import Target
from gateway.domain.principal import Principal
from gateway.limits.estimate import size_of
from gateway.limits.headers import limit_lines
from gateway.limits.local import LocalLimiter
from gateway.limits.refusal import refusal_text
from gateway.limits.values import Admission, Admitted, Refused, Settlement, Verdict
from gateway.metering.charge import charge_of
from gateway.metering.meter import Meter
from gateway.metering.provisions import Provisions
from gateway.metering.tokenizer import count_prompt
from gateway.snapshot import Snapshot
from gateway.store.accounts import AccountStore
from gateway.store.errors import StoreError


class Reloader(Protocol):
    """Knows keys, and reads them anew."""

    def confirmed(self, principal: Principal) -> None:
        """The store has the principal at this very revision."""

    async def reload(self, key_id: str) -> Principal:
        """The principal as the store has it now. Raises `BadKey`, `StoreUnavailable`."""


class AccountDesk:
    """Admits calls and gives out holds.

    Args:
        provisions: of calls that are admitted while the store is away.
        local: limits them.
        reloader: told that a key is as it was, or reads it anew where the store says that it has changed.
        process: identifies this process in the store, never used by another one.
        name_of: the word that metrics and the ledger have for an error.
        on_rejected: told which limit refused a call.
        clock: monotonic seconds, the clock of `Facts`.
        wall_clock: unix seconds, for what is admitted while the store is away.
    """

    def __init__(
        self,
        accounts: AccountStore,
        meter: Meter,
        provisions: Provisions,
        local: LocalLimiter,
        reloader: Reloader,
        process: str,
        *,
        name_of: Callable[[GatewayError], str],
        on_rejected: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self.name_of = name_of
        self._accounts = accounts
        self._meter = meter
        self._provisions = provisions
        self._local = local
        self._reloader = reloader
        self._process = process
        self._on_rejected = on_rejected
        self._wall_clock = wall_clock
        self._terms = KeptTerms()

    def hold(
        self, call: Call, target: Target, principal: Principal, snapshot: Snapshot, facts: Facts
    ) -> Hold:
        """Admit a call for as long as the block of `async with` runs; every exit settles it.

        Entering raises:
            RateLimited, BudgetSpent: a bound of the key.
            StoreUnavailable: the store is away and the policy says closed.
            BadKey: the key is gone.

        Raises:
            InvalidRequest: a number that the official API refuses too.
            PriceUnknown: the key pays, and nothing that may serve has a known price.
        """
        usable = payable(call, target, snapshot.prices) if principal.pays else target
        terms = self._terms.of(call, usable, principal, snapshot)
        return Hold(self, Case(call, size_of(call), terms, facts))

    def hold_free(
        self, call: Call, target: Target, principal: Principal, snapshot: Snapshot, facts: Facts
    ) -> Hold:
        """The same for a call that needs no model's work: it counts as a request, and holds no more."""
        terms = self._terms.of(call, target, principal, snapshot)
        return Hold(self, FreeCase(call, NO_SIZE, terms, facts))

    def settle(self, settlement: Settlement) -> Coroutine[Any, Any, object]:
        """Keep a settlement, in the store or on disk; bounded in time, never raises."""
        if settlement.was_reserved:  # then the store alone has counted it
            return self._meter.settle(settlement)
        return self._settle_uncounted(settlement)

    async def withdraw(self, admission: Admission) -> None:
        """Give back what a call holds, and keep no record of it; bounded in time, never raises."""
        self._local.settle(admission.request_id, 0)
        await self._meter.withdraw(admission)
        self._provisions.settled(admission.request_id)

    async def admit(self, hold: Hold) -> Hold:
        """The hold, once its call is admitted. Raises as entering it does."""
        case = hold.case
        for _ in range(2):
            admission = case.admission(self._process)
            try:
                verdict = await self._accounts.admit(admission)
                if isinstance(verdict, Refused) and verdict.reason in ("budget", "credit"):
                    admission, verdict = await self._count_and_ask(case, admission, verdict)
            except StoreError as error:
                return await self._without_store(hold, case, admission, error)
            except asyncio.CancelledError:
                self._meter.release_unknown(admission)
                raise
            if isinstance(verdict, Admitted):
                return self._admitted(hold, case, admission, verdict)
            if isinstance(verdict, Refused):
                raise self._refused(case, verdict)
            case = self._asked_anew(case, await self._reloader.reload(admission.key_id))
        raise BadKey("This API key is being changed; try again.")

    def _asked_anew(self, case: Case, principal: Principal) -> Case:
        """The same call, by its key as the store has it now."""
        terms = self._terms.of(case.call, case.target_for(principal), principal, case.terms.snapshot)
        return msgspec.structs.replace(case, terms=terms)

    async def _count_and_ask(
        self, case: Case, admission: Admission, verdict: Verdict
    ) -> tuple[Admission, Verdict]:
        """Ask the store once more, with the prompt counted, since money refuses the call.

        At first each byte of the prompt is taken for a token, which costs nothing to know.
        """
        if not admission.bound_nanousd:  # nothing could be smaller
            return admission, verdict
        counted = await asyncio.to_thread(
            count_prompt, case.call.fields, case.terms.target.candidates[0].model
        )
        bound = case.most_nanousd(counted)
        if bound is None or bound >= (admission.bound_nanousd or 0):
            return admission, verdict
        smaller = msgspec.structs.replace(admission, bound_nanousd=bound)
        return smaller, await self._accounts.admit(smaller)

    def _admitted(self, hold: Hold, case: Case, admission: Admission, verdict: Admitted) -> Hold:
        case.facts.rate_limits = limit_lines(verdict)
        self._reloader.confirmed(case.terms.principal)
        self._meter.opened(admission.request_id, admission.key_id)
        hold.admitted(case, admission, verdict.at_ms, was_reserved=True)
        return hold

    def _refused(self, case: Case, refused: Refused) -> GatewayError:
        case.facts.rate_limits = limit_lines(refused)
        self._on_rejected(refused.reason)
        text = refusal_text(refused)
        if refused.reason in ("budget", "credit"):
            return BudgetSpent(text)
        wait_ms = refused.retry_after_ms
        return RateLimited(text, refused.reason, None if wait_ms is None else wait_ms / 1000)

    async def _without_store(self, hold: Hold, case: Case, admission: Admission, error: StoreError) -> Hold:
        """What the policy says while the store is away: closed, open, or a share of the limits."""
        refusal = self._refusal_without_store(case, admission)
        if refusal is not None:
            self._meter.release_unknown(admission)  # it may have been admitted, and nobody heard of it
            raise refusal from error
        self._meter.opened(admission.request_id, admission.key_id)
        hold.admitted(case, admission, int(self._wall_clock() * 1000), was_reserved=False)
        try:
            await self._provisions.make(charge_of(admission, hold.admitted_ms))
        except asyncio.CancelledError:
            await asyncio.shield(hold.settle_unserved())
            raise
        return hold

    async def _settle_uncounted(self, settlement: Settlement) -> None:
        """The same for a call that was admitted while the store was away."""
        self._local.settle(settlement.request_id, settlement.tokens_actual)
        if await self._meter.settle(settlement) not in ("unsaved", "lost"):
            self._provisions.settled(settlement.request_id)

    def _refusal_without_store(self, case: Case, admission: Admission) -> GatewayError | None:
        policy = case.terms.snapshot.settings.on_store_failure
        if case.terms.pays and policy.budgets == "closed":
            return StoreUnavailable(
                "The store is away, so the budget or credit of this key cannot be checked. Try again shortly."
            )
        if policy.limits == "closed":
            return StoreUnavailable(
                "The store is away, so the limits of this key cannot be checked. Try again shortly."
            )
        if policy.limits == "local":
            self._local.processes = self._meter.live_processes
            verdict = self._local.admit(admission)
            if isinstance(verdict, Refused):
                return self._refused(case, verdict)
            case.facts.rate_limits = limit_lines(verdict)
        return None
