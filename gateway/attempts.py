"""Attempts: calls of upstreams in the plan's order, until one commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.catalog.rewrite import body_for
from gateway.domain.call import Call, CallOptions
from gateway.domain.errors import (
    AllRateLimited,
    AttemptFailed,
    FailureClass,
    GatewayError,
    ModelNotFound,
    NoUpstream,
    UpstreamRejected,
    UpstreamsFailed,
    UpstreamTimedOut,
)
from gateway.domain.facts import Facts
from gateway.domain.plan import Attempt, Plan, Target
from gateway.relay.pump import Pump
from gateway.relay.reply import Reply, read_reply
from gateway.relay.stream import Stream
from gateway.routing.health import Health
from gateway.routing.planner import MAX_ATTEMPTS
from gateway.snapshot import Snapshot
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import ATTEMPTS
from gateway.upstream.classify import refusal
from gateway.upstream.port import Timeouts, UpstreamResponse

COMMITTED = "committed"
_MAX_ERROR_BYTES = 64 * 1024
_NEXT_CREDENTIAL = frozenset({FailureClass.CREDENTIAL, FailureClass.RATE_LIMITED})


@dataclass(frozen=True, slots=True)
class Served:
    """An attempt that committed: a whole JSON reply, or a stream past its commit point.

    `idle_s` bounds the upstream's silence; `deadline`, a reading of the clock, the whole call.
    """

    upstream: str
    response: UpstreamResponse
    idle_s: float
    deadline: float
    reply: Reply | None = None
    pump: Pump | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """An admitted call: what may serve it, and the cap on output tokens where its caller names none."""

    target: Target
    cap: int | None


class Attempts:
    """Runs the attempts of calls.

    Args:
        health: told how each attempt went.
        counters: told the outcome of each attempt.
        clock: monotonic seconds, the clock of `Facts`.
    """

    def __init__(
        self,
        health: Health,
        counters: Counters,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self._health = health
        self._counters = counters
        self._loop = loop
        self._clock = clock

    async def run(
        self,
        call: Call,
        held: Held,
        plan: Plan,
        options: CallOptions,
        snapshot: Snapshot,
        facts: Facts,
    ) -> Served:
        """Try in order. Each attempt leaves its traces in `facts`.

        Raises:
            UpstreamRejected: an upstream says that the request itself is at fault.
            ModelNotFound, AllRateLimited, UpstreamTimedOut, UpstreamsFailed, NoUpstream: nobody served.
        """
        failures: list[AttemptFailed] = []
        target = held.target
        limit_s = options.timeout_s
        facts.fallback = plan.first_skipped.value if plan.first_skipped else "none"
        for attempt in plan.attempts:
            for credential in attempt.credentials:
                if len(failures) >= MAX_ATTEMPTS:
                    raise _conclusion(failures, target, plan)
                try:
                    return await self._attempt(call, held, attempt, credential, limit_s, snapshot, facts)
                except AttemptFailed as failure:
                    failures.append(failure)
                    self._learn(attempt, credential, failure)
                    if failure.failure is FailureClass.REJECTED:
                        raise UpstreamRejected(failure.status or 400, failure.error or {}) from failure
                if failure_of(failures) not in _NEXT_CREDENTIAL:
                    break
            if facts.fallback == "none":
                facts.fallback = failure_of(failures).value
            moves_on = (
                failure_of(failures) in target.fallback_on or failure_of(failures) is FailureClass.CREDENTIAL
            )
            if not moves_on:
                break
        raise _conclusion(failures, target, plan)

    async def _attempt(
        self,
        call: Call,
        held: Held,
        attempt: Attempt,
        credential: int,
        limit_s: float | None,
        snapshot: Snapshot,
        facts: Facts,
    ) -> Served:
        candidate = attempt.candidate
        client = snapshot.clients[candidate.upstream]
        facts.attempts += 1
        facts.upstream = candidate.upstream
        facts.model = candidate.model
        facts.shutdown_date = candidate.shutdown_date
        target = held.target
        body = body_for(call, target, candidate, stream_usage=client.stream_usage, cap=held.cap)
        began = self._clock()
        timeouts = client.timeouts_for(target.timeouts)
        total_s = timeouts.total_s if limit_s is None else min(limit_s, timeouts.total_s)
        deadline = facts.started_at + total_s
        timeouts = _until(deadline, began, timeouts)
        if self._health.in_flight(candidate.upstream) >= client.max_concurrency:
            raise AttemptFailed(
                FailureClass.RATE_LIMITED, "The upstream has all the calls in flight it may have."
            )
        self._health.began(candidate.upstream)
        outcome = "client_left"
        try:
            response = await client.post(call.route.path, body, credential, timeouts)
            request_id = response.header(b"x-request-id")
            facts.upstream_request_id = request_id.decode("latin-1")[:200] if request_id else None
            if response.status != 200:
                raise await _refused(response)
            self._health.accepted(candidate.upstream, credential)
            if call.stream:
                served = await self._stream(call, candidate.upstream, response, timeouts, began, deadline)
            else:
                served = await self._reply(candidate.upstream, response, timeouts, deadline, snapshot)
        except AttemptFailed as failure:
            outcome = failure.failure.value
            raise
        else:
            outcome = COMMITTED
            return served
        finally:
            facts.upstream_s += self._clock() - began
            facts.tried.append((candidate.upstream, candidate.model, outcome))
            self._counters.inc(ATTEMPTS, (candidate.upstream, outcome))
            if outcome is not COMMITTED:
                self._health.ended(candidate.upstream)

    def release(self, served: Served) -> None:
        """The reply has left: its upstream has one call less in flight."""
        self._health.ended(served.upstream)

    async def _stream(
        self,
        call: Call,
        upstream: str,
        response: UpstreamResponse,
        timeouts: Timeouts,
        began: float,
        deadline: float,
    ) -> Served:
        if _is_document(response):
            body = await response.read(_MAX_ERROR_BYTES)
            read_reply(body)  # raises what the document says, if it says something
            raise AttemptFailed(FailureClass.BAD_RESPONSE, "The upstream answered a stream with a document.")
        stream = Stream(wants_usage=call.wants_usage, choices=call.choices)
        pump = Pump(response, stream, self._loop)
        await pump.committed(max(0.0, began + timeouts.first_token_s - self._clock()))
        return Served(upstream, response, timeouts.idle_s, deadline, pump=pump)

    async def _reply(
        self,
        upstream: str,
        response: UpstreamResponse,
        timeouts: Timeouts,
        deadline: float,
        snapshot: Snapshot,
    ) -> Served:
        try:
            async with asyncio.timeout(deadline - self._clock()):
                body = await response.read(snapshot.settings.server.max_response_bytes)
        except TimeoutError:
            response.abort()
            raise AttemptFailed(FailureClass.TIMEOUT, "The upstream's answer took too long.") from None
        return Served(upstream, response, timeouts.idle_s, deadline, reply=read_reply(body))

    def _learn(self, attempt: Attempt, credential: int, failure: AttemptFailed) -> None:
        candidate = attempt.candidate
        if failure.failure is FailureClass.CREDENTIAL and failure.status in (401, 403):
            self._health.set_aside(candidate.upstream, credential, self._clock())


def failure_of(failures: list[AttemptFailed]) -> FailureClass:
    """The class of the last failure."""
    return failures[-1].failure


def _until(deadline: float, now: float, timeouts: Timeouts) -> Timeouts:
    """Timeouts that end at the call's deadline."""
    left = deadline - now
    if left <= 0:
        raise AttemptFailed(FailureClass.TIMEOUT, "The call's own time limit is over.")
    if left >= max(timeouts.connect_s, timeouts.first_token_s, timeouts.idle_s):
        return timeouts
    return replace(
        timeouts,
        connect_s=min(timeouts.connect_s, left),
        first_token_s=min(timeouts.first_token_s, left),
        idle_s=min(timeouts.idle_s, left),
    )


async def _refused(response: UpstreamResponse) -> AttemptFailed:
    """Read an answer other than 200 and say what it means. Redirects are answers too: none is followed."""
    try:
        body = await response.read(_MAX_ERROR_BYTES)
    except AttemptFailed:
        body = b""  # the status alone has to do
    return refusal(response.status, body, response.header(b"retry-after"))


def _is_document(response: UpstreamResponse) -> bool:
    kind = (response.header(b"content-type") or b"").lower()
    return kind.startswith((b"application/json", b"text/html"))


def _conclusion(failures: list[AttemptFailed], target: Target, plan: Plan) -> GatewayError:
    """What the caller is told when nobody served."""
    if not failures:
        reasons = "; ".join(
            f"{left.candidate.upstream}: {left.reason.value} ({left.detail})" for left in plan.left_out
        )
        return NoUpstream(f"No upstream can serve `{target.name}` now. {reasons}".strip())
    classes = {failure.failure for failure in failures}
    if classes == {FailureClass.MODEL_NOT_FOUND}:
        return ModelNotFound(f"The model `{target.name}` does not exist at any upstream that may serve it.")
    if classes == {FailureClass.RATE_LIMITED}:
        waits = [f.retry_after_s for f in failures if f.retry_after_s is not None]
        return AllRateLimited(
            f"Every upstream of `{target.name}` is rate limited.", min(waits) if waits else 1.0
        )
    tried = ", ".join(failure.failure.value for failure in failures)
    if failures[-1].failure is FailureClass.TIMEOUT:
        return UpstreamTimedOut(f"The upstream of `{target.name}` did not answer in time (tried: {tried}).")
    return UpstreamsFailed(f"No upstream served `{target.name}` (tried: {tried}).")
