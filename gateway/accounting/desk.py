"""Admission: what the store says of a call, and what the policy says while the store is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.accounting.bill import Bill
from gateway.accounting.hold import NO_SIZE, FreeHold, Hold
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
from gateway.limits.values import Admission, Admitted, Refused, Verdict
from gateway.metering.charge import charge_of
from gateway.metering.meter import Meter
from gateway.metering.provisions import Provisions
from gateway.metering.tokenizer import count_prompt
from gateway.snapshot import Snapshot
from gateway.store.account_wire import ADMITTED, verdict
from gateway.store.accounts import AccountStore
from gateway.store.errors import StoreError, is_unknown_script


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

    Attributes:
        end: settles a call that the store has admitted: it alone has counted it.
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
        self.end = meter.end
        self._accounts = accounts
        self._meter = meter
        self._provisions = provisions
        self._local = local
        self._reloader = reloader
        self._on_rejected = on_rejected
        self._wall_clock = wall_clock
        self._terms = KeptTerms(accounts, process)

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
        size = size_of(call)
        tokens = size.likely_tokens(terms.likely_output_tokens, terms.longest_answer)
        hold = Hold(self, call, size, terms, facts, terms.held, tokens)
        if terms.pays:
            hold.weigh()
        return hold

    def hold_free(
        self, call: Call, target: Target, principal: Principal, snapshot: Snapshot, facts: Facts
    ) -> Hold:
        """The same for a call that needs no model's work: it counts as a request, and holds no more."""
        terms = self._terms.of(call, target, principal, snapshot)
        return FreeHold(self, call, NO_SIZE, terms, facts, terms.held, tokens=0, bound_nanousd=0)

    async def withdraw(self, hold: Hold) -> None:
        """Give back what a call holds, and keep no record of it; bounded in time, never raises."""
        request_id = hold.facts.request_id
        self._local.settle(request_id, 0)
        await self._meter.withdraw(hold.admission())
        self._provisions.settled(request_id)

    async def admit(self, hold: Hold) -> Hold:
        """The hold, once its call is admitted. Raises as entering it does."""
        try:
            reply = await hold.ask()
        except StoreError as error:
            if is_unknown_script(error):
                return await self._insist(hold, None)
            return await self._without_store(hold, error)
        except asyncio.CancelledError:
            self._meter.release_unknown(hold.admission())
            raise
        if reply[0] != ADMITTED:
            return await self._insist(hold, verdict(reply, hold.admission()))
        terms = hold.terms
        _, at_ms, rpm, tpm, _, _, _ = reply
        return self._admitted(hold, at_ms, terms.limit_lines.after(rpm, tpm))

    async def _insist(self, hold: Hold, said: Verdict | None) -> Hold:
        """The same for a call that was not admitted at once.

        Args:
            said: by the store; None where it did not know the script, and is asked again.
        """
        for _ in range(2):
            try:
                if said is None:
                    said = await self._accounts.admit(hold.admission())
                if isinstance(said, Refused) and said.reason in ("budget", "credit"):
                    said = await self._count_and_ask(hold, said)
            except StoreError as error:
                return await self._without_store(hold, error)
            except asyncio.CancelledError:
                self._meter.release_unknown(hold.admission())
                raise
            if isinstance(said, Admitted):
                return self._admitted(hold, said.at_ms, limit_lines(said))
            if isinstance(said, Refused):
                raise self._refused(hold, said)
            terms = hold.terms
            principal = await self._reloader.reload(terms.principal.key_id)
            hold.change(self._terms.of(hold.call, hold.target_for(principal), principal, terms.snapshot))
            said = None
        raise BadKey("This API key is being changed; try again.")

    async def _count_and_ask(self, hold: Hold, said: Refused) -> Verdict:
        """Ask the store once more, with the prompt counted, since money refuses the call.

        At first each byte of the prompt is taken for a token, which costs nothing to know.
        """
        if not hold.bound_nanousd:  # nothing could be smaller
            return said
        counted = await asyncio.to_thread(
            count_prompt, hold.call.fields, hold.terms.target.candidates[0].model
        )
        bound = hold.most_nanousd(counted)
        if bound >= hold.bound_nanousd:
            return said
        smaller = msgspec.structs.replace(hold.admission(), bound_nanousd=bound)
        answer = await self._accounts.admit(smaller)
        hold.bound_nanousd = bound
        return answer

    def _admitted(self, hold: Hold, at_ms: int, lines: bytes) -> Hold:
        principal, facts = hold.terms.principal, hold.facts
        facts.rate_limits = lines
        hold.admitted_ms = at_ms
        self._reloader.confirmed(principal)
        self._meter.opened(facts.request_id, principal.key_id)
        return hold

    def _refused(self, hold: Hold, refused: Refused) -> GatewayError:
        hold.facts.rate_limits = limit_lines(refused)
        self._on_rejected(refused.reason)
        text = refusal_text(refused)
        if refused.reason in ("budget", "credit"):
            return BudgetSpent(text)
        wait_ms = refused.retry_after_ms
        return RateLimited(text, refused.reason, None if wait_ms is None else wait_ms / 1000)

    async def _without_store(self, hold: Hold, error: StoreError) -> Hold:
        """What the policy says while the store is away: closed, open, or a share of the limits."""
        admission = hold.admission()
        refusal = self._refusal_without_store(hold, admission)
        if refusal is not None:
            self._meter.release_unknown(admission)  # it may have been admitted, and nobody heard of it
            raise refusal from error
        self._meter.opened(admission.request_id, admission.key_id)
        hold.admitted_ms, hold.was_reserved = int(self._wall_clock() * 1000), False
        try:
            await self._provisions.make(charge_of(admission, hold.admitted_ms))
        except asyncio.CancelledError:
            await asyncio.shield(hold.settle_unserved())
            raise
        return hold

    async def end_uncounted(self, bill: Bill) -> None:
        """Settle a call that was admitted while the store was away; bounded in time, never raises."""
        settlement = bill.settlement(was_reserved=False)
        self._local.settle(settlement.request_id, settlement.tokens_actual)
        if await self._meter.settle(settlement) not in ("unsaved", "lost"):
            self._provisions.settled(settlement.request_id)

    def _refusal_without_store(self, hold: Hold, admission: Admission) -> GatewayError | None:
        terms = hold.terms
        policy = terms.snapshot.settings.on_store_failure
        if terms.pays and policy.budgets == "closed":
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
                return self._refused(hold, verdict)
            hold.facts.rate_limits = limit_lines(verdict)
        return None
