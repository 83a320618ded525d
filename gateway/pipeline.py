"""The story of one call: what its name means, where it may go, who serves it, how the answer leaves."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Self

import msgspec

from gateway.accounting.desk import AccountDesk
from gateway.accounting.hold import Hold
from gateway.attempts.runner import Attempts
from gateway.attempts.served import Served
from gateway.cache.lead import Lead
from gateway.cached_calls import CachedCalls, Work
from gateway.caller import Caller
from gateway.domain.call import Call, CallOptions
from gateway.domain.errors import Draining, GatewayError, PinNotAllowed, StreamBroken
from gateway.domain.facts import Facts
from gateway.domain.plan import Plan, Target
from gateway.domain.principal import Principal
from gateway.gate import Gate
from gateway.relay.pump import Limits, Pump
from gateway.relay.reply import Reply
from gateway.routing.calendar import Calendar
from gateway.routing.health import Health
from gateway.routing.planner import plan, usual
from gateway.snapshot import Snapshot, Snapshots


class CallService:
    """Serves the routes that call a model.

    Args:
        snapshots: what holds now.
        health: what is known of upstreams.
        attempts: runs the plan.
        accounting: admits and settles.
        cached: serves calls that the response cache has a part in.
        gate: bounds how many calls are in progress.
        loop: that calls run in.
        clock: monotonic seconds, the clock of `Facts`.
        draw: random numbers in [0, 1).
        wall_clock: unix seconds, for the dates that models end on.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        health: Health,
        attempts: Attempts,
        accounting: AccountDesk,
        cached: CachedCalls,
        gate: Gate,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._snapshots = snapshots
        self._health = health
        self._attempts = attempts
        self._accounting = accounting
        self._cached = cached
        self._gate = gate
        self._loop = loop
        self._clock = clock
        self._draw = draw
        self._calendar = Calendar(wall_clock)
        self._streams: set[Pump] = set()
        self._unanswered: set[_Unanswered] = set()
        self.is_refusing = False

    async def handle(
        self, call: Call, options: CallOptions, principal: Principal, caller: Caller, facts: Facts
    ) -> None:
        """Serve one call. Refusals, and failures before the commit point, are raised."""
        snapshot = self._snapshots.current
        target = self._resolve(call, principal, snapshot, facts)
        self._check(options, principal, snapshot)
        with _Unanswered(caller, facts, self._unanswered, self._loop) as unanswered:
            if not self._gate.enter():
                await self._gate.wait()
            try:
                work = Work(call, target, options, principal, snapshot, caller, facts, unanswered.over)
                is_kept = target.cache is not None or options.cache is not None
                await (self._cached.serve(work, self) if is_kept else self.serve(work))
            finally:
                self._gate.leave()

    async def serve(self, work: Work) -> None:
        """Admit the call, make it, answer its caller: as if there were no cache."""
        call, snapshot, facts = work.call, work.snapshot, work.facts
        async with self._accounting.hold(call, work.target, work.principal, snapshot, facts) as hold:
            decision = self._plan(hold.held.target, work.options)
            served = await self._attempts.run(call, hold.held, decision, work.options, snapshot, facts)
            work.answering()
            try:
                answer = served.answer
                if isinstance(answer, Pump):
                    await self._relay(answer, served, hold, work)
                else:
                    await self._reply(answer, served, hold, work)
            finally:
                self._attempts.release(served)

    def _resolve(self, call: Call, principal: Principal, snapshot: Snapshot, facts: Facts) -> Target:
        facts.requested = call.model
        facts.stream = call.stream
        target = snapshot.catalogue.resolve(call.model, principal)
        facts.alias = target.alias
        facts.release = target.release
        return target

    def _check(self, options: CallOptions, principal: Principal, snapshot: Snapshot) -> None:
        if options.pin is not None:
            if not principal.may_pin:
                raise PinNotAllowed("This key may not choose its upstream (x-tunegate-upstream).")
            if options.pin not in snapshot.clients:
                raise PinNotAllowed("x-tunegate-upstream names no upstream of this gateway.")
        if self.is_refusing:
            raise Draining(_DRAINING)

    def _plan(self, target: Target, options: CallOptions) -> Plan:
        today = self._calendar.today()
        decision = usual(target, self._health, today) if options.pin is None else None
        if decision is None:
            now, draw = self._clock(), self._draw()
            decision = plan(target.candidates, self._health, now, draw, options.pin, today=today)
        return decision if options.fallback else decision.first_only()

    async def _reply(self, reply: Reply, served: Served, hold: Hold, work: Work) -> None:
        facts = work.facts
        facts.usage, facts.service_tier = reply.usage, reply.service_tier
        await hold.settle(reply.usage, reply.text() if reply.usage is None else None)
        work.caller.reply(reply.body, served.response)

    async def _relay(self, pump: Pump, served: Served, hold: Hold, work: Work) -> None:
        caller, facts = work.caller, work.facts
        facts.first_token_at = self._clock()
        limits = Limits(served.idle_s, work.snapshot.settings.server.keepalive_comment_s)
        drain = caller.start_stream(pump, served.response)
        self._streams.add(pump)
        try:
            pump.connect(drain, limits, served.deadline)
            ending = await pump.ended()
        except asyncio.CancelledError:  # the process must end; what has left is charged all the same
            await asyncio.shield(hold.settle(None, pump.relayed_text()))
            raise
        finally:
            self._streams.discard(pump)
        facts.usage, facts.service_tier = ending.usage, ending.service_tier
        facts.last_byte_at = ending.last_byte_at
        facts.error_type = ending.error.code if ending.error else None
        served.is_broken = ending.error is not None and ending.error.code in _OF_THE_UPSTREAM
        is_exact = ending.error is None and ending.usage is not None
        await hold.settle(ending.usage, None if is_exact else pump.relayed_text())
        caller.finish_stream(ending.error)

    # -- what the response cache asks of the pipeline

    async def lead(self, work: Work, lead: Lead) -> None:
        """The same for all who want this answer; they leave as one, with the last of them."""
        with _Unanswered(lead, work.facts, self._unanswered, self._loop) as unanswered:
            await self.serve(msgspec.structs.replace(work, caller=lead, answering=unanswered.over))

    def hold_free(self, work: Work) -> Hold:
        """Admit a call that needs no model's work."""
        return self._accounting.hold_free(work.call, work.target, work.principal, work.snapshot, work.facts)

    def stop_calls(self) -> None:
        """End everything with `gateway_draining`: the drain's deadline has come."""
        self._cached.stop_calls()
        for pump in list(self._streams):
            pump.stop(StreamBroken("gateway_draining", "The gateway is shutting down."))
        for unanswered in list(self._unanswered):
            unanswered.interrupt(Draining(_DRAINING), "gateway_draining")


class _Unanswered:
    """A call of which nothing was sent yet: it can still be given up as a whole, and its upstream with it.

    It is when its client leaves, and when the process must.
    """

    __slots__ = ("_caller", "_facts", "_instead", "_others", "_task")

    def __init__(
        self, caller: Caller, facts: Facts, others: set[_Unanswered], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._caller = caller
        self._facts = facts
        self._others = others
        self._task = asyncio.current_task(loop)  # without the loop it would ask for the process id first
        self._instead: GatewayError | None = None

    def __enter__(self) -> Self:
        self._others.add(self)
        self._caller.watch(self)
        if self._caller.is_gone:
            self.client_gone()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._task is None:
            return
        if self._instead is not None and kind is asyncio.CancelledError:
            self._task.uncancel()
            self.over()
            raise self._instead
        self.over()

    def over(self) -> None:
        """Something is about to be sent: whoever sends it watches the client from now on."""
        if self._task is not None:
            self._task = None
            self._others.discard(self)
            self._caller.watch(None)

    def interrupt(self, instead: GatewayError, error_type: str) -> None:
        """Give the call up; its caller is told `instead`, and its record says `error_type`."""
        if self._task is not None and self._instead is None:
            self._instead = instead
            self._facts.error_type = error_type
            self._task.cancel()

    def client_gone(self) -> None:
        """Give the call up; nobody is there to be told."""
        if self._task is not None:
            self._task.cancel()

    def pause(self) -> None:
        """Nothing is flowing yet."""

    def resume(self) -> None:
        """Nothing is flowing yet."""


_OF_THE_UPSTREAM = frozenset({"upstream_error", "stream_truncated", "stream_stalled"})
_DRAINING = "This gateway is shutting down; try again, another one will serve you."
