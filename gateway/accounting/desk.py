"""Admission: what the store says of a call, and what the policy says while the store is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from gateway.accounting.case import Case, FreeCase
from gateway.accounting.hold import Hold
from gateway.domain.call import Call
from gateway.domain.errors import BadKey, BudgetSpent, GatewayError, RateLimited, StoreUnavailable
from gateway.domain.facts import Facts
from gateway.domain.plan import Target
from gateway.domain.principal import Principal
from gateway.limits.headers import limit_headers
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


class Holding:
    """The block in which a call runs. A class, since a generator would cost each call a few microseconds."""

    __slots__ = ("_admitting", "_facts", "_hold", "_name_of")

    def __init__(
        self, admitting: Awaitable[Hold], facts: Facts, name_of: Callable[[GatewayError], str]
    ) -> None:
        self._admitting = admitting
        self._facts = facts
        self._name_of = name_of

    async def __aenter__(self) -> Hold:
        self._hold = await self._admitting
        return self._hold

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        facts = self._facts
        if isinstance(error, GatewayError):
            facts.error_type = self._name_of(error)
        elif isinstance(error, asyncio.CancelledError):
            facts.error_type = facts.error_type or "client_left"  # whoever else gave it up has said why
        if not self._hold.is_settled:
            # Shielded: a call is cancelled when its client leaves, and is settled all the same.
            await asyncio.shield(self._hold.settle_unserved())


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
        self._accounts = accounts
        self._meter = meter
        self._provisions = provisions
        self._local = local
        self._reloader = reloader
        self._process = process
        self._name_of = name_of
        self._on_rejected = on_rejected
        self._wall_clock = wall_clock

    def hold(
        self, call: Call, target: Target, principal: Principal, snapshot: Snapshot, facts: Facts
    ) -> Holding:
        """Admit a call for as long as the block of `async with` runs; every exit settles it.

        Entering raises:
            InvalidRequest: a number that the official API refuses too.
            RateLimited, BudgetSpent: a bound of the key.
            PriceUnknown: the key pays, and nothing that may serve has a known price.
            StoreUnavailable: the store is away and the policy says closed.
            BadKey: the key is gone.
        """
        return Holding(self._admit(Case.of(call, target, principal, snapshot, facts)), facts, self._name_of)

    def hold_free(
        self, call: Call, target: Target, principal: Principal, snapshot: Snapshot, facts: Facts
    ) -> Holding:
        """The same for a call that needs no model's work: it counts as a request, and holds no more."""
        case = FreeCase.of(call, target, principal, snapshot, facts)
        return Holding(self._admit(case), facts, self._name_of)

    async def settle(self, settlement: Settlement) -> None:
        """Keep a settlement, in the store or on disk; bounded in time, never raises."""
        self._local.settle(settlement.request_id, settlement.tokens_actual)
        if await self._meter.settle(settlement) not in ("unsaved", "lost"):
            self._provisions.settled(settlement.request_id)

    async def withdraw(self, admission: Admission) -> None:
        """Give back what a call holds, and keep no record of it; bounded in time, never raises."""
        self._local.settle(admission.request_id, 0)
        await self._meter.withdraw(admission)
        self._provisions.settled(admission.request_id)

    async def _admit(self, case: Case) -> Hold:
        for _ in range(2):
            admission = case.admission(self._process)
            try:
                verdict = await self._accounts.admit(admission)
                if isinstance(verdict, Refused) and verdict.reason in ("budget", "credit"):
                    admission, verdict = await self._count_and_ask(case, admission, verdict)
            except StoreError as error:
                return await self._without_store(case, admission, error)
            except asyncio.CancelledError:
                self._meter.release_unknown(admission)
                raise
            if isinstance(verdict, Admitted):
                return self._admitted(case, admission, verdict)
            if isinstance(verdict, Refused):
                raise self._refused(case, verdict)
            case = case.asked_by(await self._reloader.reload(case.principal.key_id))
        raise BadKey("This API key is being changed; try again.")

    async def _count_and_ask(
        self, case: Case, admission: Admission, verdict: Verdict
    ) -> tuple[Admission, Verdict]:
        """Ask the store once more, with the prompt counted, since money refuses the call.

        At first each byte of the prompt is taken for a token, which costs nothing to know.
        """
        if not admission.bound_nanousd:  # nothing could be smaller
            return admission, verdict
        counted = await asyncio.to_thread(count_prompt, case.call.fields, case.target.candidates[0].model)
        bound = case.most_nanousd(counted)
        if bound is None or bound >= (admission.bound_nanousd or 0):
            return admission, verdict
        smaller = msgspec.structs.replace(admission, bound_nanousd=bound)
        return smaller, await self._accounts.admit(smaller)

    def _admitted(self, case: Case, admission: Admission, verdict: Admitted) -> Hold:
        case.facts.rate_limits = tuple(limit_headers(verdict))
        self._reloader.confirmed(case.principal)
        self._meter.opened(admission.request_id, admission.key_id)
        return Hold(self, case, admission, verdict.at_ms, was_reserved=True)

    def _refused(self, case: Case, refused: Refused) -> GatewayError:
        case.facts.rate_limits = tuple(limit_headers(refused))
        self._on_rejected(refused.reason)
        text = refusal_text(refused)
        if refused.reason in ("budget", "credit"):
            return BudgetSpent(text)
        wait_ms = refused.retry_after_ms
        return RateLimited(text, refused.reason, None if wait_ms is None else wait_ms / 1000)

    async def _without_store(self, case: Case, admission: Admission, error: StoreError) -> Hold:
        """What the policy says while the store is away: closed, open, or a share of the limits."""
        refusal = self._refusal_without_store(case, admission)
        if refusal is not None:
            self._meter.release_unknown(admission)  # it may have been admitted, and nobody heard of it
            raise refusal from error
        self._meter.opened(admission.request_id, admission.key_id)
        hold = Hold(self, case, admission, int(self._wall_clock() * 1000), was_reserved=False)
        try:
            await self._provisions.make(charge_of(admission, hold.admitted_ms))
        except asyncio.CancelledError:
            await asyncio.shield(hold.settle_unserved())
            raise
        return hold

    def _refusal_without_store(self, case: Case, admission: Admission) -> GatewayError | None:
        policy = case.snapshot.settings.on_store_failure
        if case.principal.pays and policy.budgets == "closed":
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
            case.facts.rate_limits = tuple(limit_headers(verdict))
        return None
