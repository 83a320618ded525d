"""The story of one call: what its name means, where it may go, who serves it, how the answer leaves."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from gateway.accounting.desk import AccountDesk
from gateway.accounting.hold import Hold
from gateway.attempts.runner import Attempts
from gateway.attempts.served import Served
from gateway.cache.lead import Lead
from gateway.cached_calls import CachedCalls, Work
from gateway.caller import Caller
from gateway.domain.call import Call, CallOptions
from gateway.domain.errors import Draining, PinNotAllowed, StreamBroken
from gateway.domain.facts import Facts
from gateway.domain.plan import Plan, Target
from gateway.domain.principal import Principal
from gateway.gate import Gate
from gateway.relay.pump import Limits, Pump
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
        self._wall_clock = wall_clock
        self._calendar = Calendar(wall_clock)
        self._streams: set[Pump] = set()
        self._begun: set[Work] = set()
        self.is_refusing = False

    def begin(
        self,
        call: Call,
        options: CallOptions,
        principal: Principal,
        caller: Caller,
        facts: Facts,
        task: asyncio.Task[None] | None,
    ) -> Work:
        """What is to be served, by what holds now. Its task awaits `handle`, and `end`s it.

        Raises:
            ModelNotFound, ModelNotAllowed, PinNotAllowed, Draining: it is not served.
        """
        snapshot = self._snapshots.current
        facts.requested, facts.stream = call.model, call.stream
        target = snapshot.catalogue.resolve(call.model, principal)
        facts.alias, facts.release = target.alias, target.release
        if options.pin is not None:
            _check_pin(options.pin, principal, snapshot)
        if self.is_refusing:
            raise Draining(_DRAINING)
        has_place = self._gate.enter()
        work = Work(call, target, options, principal, snapshot, caller, facts, task, has_place)
        self._begun.add(work)
        caller.watch(work)
        return work

    def handle(self, work: Work) -> Coroutine[Any, Any, None]:
        """Serve it, once it has a place. Refusals, and failures before the commit point, are raised."""
        if not work.has_place:
            return self._queue_up(work)
        if work.target.cache is not None or work.options.cache is not None:
            return self._cached.serve(work, self)
        return self.serve(work)

    def end(self, work: Work) -> None:
        """It is over, however it ended."""
        self._begun.discard(work)
        if work.has_place:
            self._gate.leave()

    async def _queue_up(self, work: Work) -> None:
        await self._gate.wait()
        work.has_place = True
        await self.handle(work)

    async def serve(self, work: Work) -> None:
        """Admit the call, make it, answer its caller: as if there were no cache."""
        call, options = work.call, work.options
        snapshot, facts = work.snapshot, work.facts
        async with self._accounting.hold(call, work.target, work.principal, snapshot, facts) as hold:
            decision = self._plan(hold.held.target, options)
            served = await self._attempts.run(call, hold.held, decision, options, snapshot, facts)
            work.answering()
            try:
                answer = served.answer
                if isinstance(answer, Pump):
                    await self._relay(answer, served, hold, work)
                else:
                    usage = facts.usage = answer.usage
                    facts.service_tier = answer.service_tier
                    await hold.settle(usage, answer.text() if usage is None else None)
                    work.caller.reply(answer.body, served.response)
            finally:
                self._attempts.release(served)

    def _plan(self, target: Target, options: CallOptions) -> Plan:
        decision = usual(target, self._health, self._wall_clock()) if options.pin is None else None
        if decision is None:
            now, draw, today = self._clock(), self._draw(), self._calendar.today()
            decision = plan(target.candidates, self._health, now, draw, options.pin, today=today)
        return decision if options.fallback else decision.first_only()

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
        task = asyncio.current_task(self._loop)
        flight = msgspec.structs.replace(work, caller=lead, task=task, has_place=False, instead=None)
        self._begun.add(flight)
        lead.watch(flight)
        try:
            await self.serve(flight)
        except asyncio.CancelledError:
            if flight.instead is None:
                raise
            raise flight.instead from None
        finally:
            lead.watch(None)
            self.end(flight)

    def hold_free(self, work: Work) -> Hold:
        """Admit a call that needs no model's work."""
        return self._accounting.hold_free(work.call, work.target, work.principal, work.snapshot, work.facts)

    def stop_calls(self) -> None:
        """End everything with `gateway_draining`: the drain's deadline has come."""
        self._cached.stop_calls()
        for pump in list(self._streams):
            pump.stop(StreamBroken("gateway_draining", "The gateway is shutting down."))
        for work in list(self._begun):
            work.interrupt(Draining(_DRAINING), "gateway_draining")


def _check_pin(pin: str, principal: Principal, snapshot: Snapshot) -> None:
    if not principal.may_pin:
        raise PinNotAllowed("This key may not choose its upstream (x-tunegate-upstream).")
    if pin not in snapshot.clients:
        raise PinNotAllowed("x-tunegate-upstream names no upstream of this gateway.")


_OF_THE_UPSTREAM = frozenset({"upstream_error", "stream_truncated", "stream_stalled"})
_DRAINING = "This gateway is shutting down; try again, another one will serve you."
