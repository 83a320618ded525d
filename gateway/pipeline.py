"""The story of one call: what its name means, where it may go, who serves it, how the answer leaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

from gateway.attempts import Attempts, Served
from gateway.domain.call import Call, CallOptions
from gateway.domain.errors import Draining, PinNotAllowed, StreamBroken
from gateway.domain.facts import Facts
from gateway.domain.plan import Plan, Target
from gateway.domain.principal import Principal
from gateway.relay.pump import Drain, Limits, Pump
from gateway.routing.health import Health
from gateway.routing.planner import plan
from gateway.snapshot import Snapshot, Snapshots
from gateway.upstream.port import UpstreamResponse


class Reader(Protocol):
    """Whoever wants to know how a client does."""

    def pause(self) -> None:
        """The client reads too slowly."""

    def resume(self) -> None:
        """The client has caught up."""

    def client_gone(self) -> None:
        """The client left."""


class Caller(Protocol):
    """Whoever called and waits for the answer."""

    @property
    def is_gone(self) -> bool:
        """True when the client has left."""

    def watch(self, reader: Reader | None) -> None:
        """Tell `reader` when the client lags or leaves; None stops that."""

    def reply(self, body: bytes, answer: UpstreamResponse) -> None:
        """Send a whole JSON reply."""

    def start_stream(self, reader: Reader, answer: UpstreamResponse) -> Drain:
        """Send the head of a stream; its events go to what is returned."""

    def finish_stream(self, error: StreamBroken | None) -> None:
        """End a stream: with `[DONE]`, or with the one error event and none."""


class CallService:
    """Serves the routes that call a model.

    Args:
        snapshots: what holds now.
        health: what is known of upstreams.
        attempts: runs the plan.
        clock: monotonic seconds, the clock of `Facts`.
        draw: random numbers in [0, 1).
    """

    def __init__(
        self,
        snapshots: Snapshots,
        health: Health,
        attempts: Attempts,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._snapshots = snapshots
        self._health = health
        self._attempts = attempts
        self._clock = clock
        self._draw = draw
        self._streams: set[Pump] = set()
        self.is_refusing = False

    async def handle(
        self, call: Call, options: CallOptions, principal: Principal, caller: Caller, facts: Facts
    ) -> None:
        """Serve one call. Refusals, and failures before the commit point, are raised."""
        snapshot = self._snapshots.current
        target = self._resolve(call, principal, snapshot, facts)
        self._admit(options, principal, snapshot)
        decision = self._plan(target, options)
        with _CancelledIfClientLeaves(caller):
            served = await self._attempts.run(call, target, decision, options, snapshot, facts)
        try:
            if served.pump is None:
                self._reply(served, caller, facts)
            else:
                await self._relay(served, served.pump, snapshot, caller, facts)
        finally:
            self._attempts.release(served)

    def _resolve(self, call: Call, principal: Principal, snapshot: Snapshot, facts: Facts) -> Target:
        facts.requested = call.model
        facts.stream = call.stream
        target = snapshot.catalogue.resolve(call.model, principal)
        facts.alias = target.alias
        facts.release = target.release
        return target

    def _admit(self, options: CallOptions, principal: Principal, snapshot: Snapshot) -> None:
        if options.pin is not None:
            if not principal.may_pin:
                raise PinNotAllowed("This key may not choose its upstream (x-tunegate-upstream).")
            if options.pin not in snapshot.clients:
                raise PinNotAllowed("x-tunegate-upstream names no upstream of this gateway.")
        if self.is_refusing:
            raise Draining("This gateway is shutting down; try again, another one will serve you.")

    def _plan(self, target: Target, options: CallOptions) -> Plan:
        decision = plan(target.candidates, self._health, self._clock(), self._draw(), options.pin)
        return decision if options.fallback else decision.first_only()

    def _reply(self, served: Served, caller: Caller, facts: Facts) -> None:
        facts.usage = served.usage
        caller.reply(served.body, served.response)

    async def _relay(
        self, served: Served, pump: Pump, snapshot: Snapshot, caller: Caller, facts: Facts
    ) -> None:
        facts.first_token_at = self._clock()
        timeouts = served.timeouts
        limits = Limits(timeouts.idle_s, snapshot.settings.server.keepalive_comment_s)
        drain = caller.start_stream(pump, served.response)
        self._streams.add(pump)
        try:
            pump.connect(drain, limits, facts.started_at + timeouts.total_s)
            ending = await pump.ended()
        finally:
            self._streams.discard(pump)
        facts.usage = ending.usage
        facts.error_type = ending.error.code if ending.error else None
        caller.finish_stream(ending.error)

    def stop_streams(self) -> None:
        """End every running stream with `gateway_draining`: the drain's deadline has come."""
        for pump in list(self._streams):
            pump.stop(StreamBroken("gateway_draining", "The gateway is shutting down."))


class _CancelledIfClientLeaves:
    """While nothing was sent, a client that leaves ends the whole call, and with it the upstream's."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._task = asyncio.current_task()

    def __enter__(self) -> None:
        self._caller.watch(self)
        if self._caller.is_gone:
            self.client_gone()

    def __exit__(self, *_: object) -> None:
        self._caller.watch(None)

    def client_gone(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def pause(self) -> None:
        """Nothing is flowing yet."""

    def resume(self) -> None:
        """Nothing is flowing yet."""
