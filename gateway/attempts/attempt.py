"""One attempt: a call of one upstream, up to its commit point."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from gateway.attempts.job import Job
from gateway.attempts.served import Served
from gateway.catalog.rewrite import body_for
from gateway.domain.call import Call
from gateway.domain.errors import AttemptFailed, FailureClass, Hint
from gateway.domain.facts import Tried
from gateway.relay.pump import Pump
from gateway.relay.reply import Reply, read_reply
from gateway.relay.stream import Stream
from gateway.routing.course import Step
from gateway.routing.health import Health
from gateway.snapshot import Snapshot
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import ATTEMPTS
from gateway.upstream.classify import refusal
from gateway.upstream.port import Timeouts, UpstreamResponse

COMMITTED = "committed"
_MAX_ERROR_BYTES = 64 * 1024


class Attempting:
    """Makes attempts. See `Attempts` for its arguments."""

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

    async def run(self, step: Step, job: Job, tried: Tried) -> Served:
        """Make one attempt; `tried` says how it ended. Raises `AttemptFailed`."""
        candidate, credential = step.attempt.candidate, step.credential
        upstream, model = candidate.upstream, candidate.model
        call, held, facts, snapshot = job.call, job.held, job.facts, job.snapshot
        client = snapshot.clients[upstream]
        body = body_for(
            call,
            held.target,
            candidate,
            stream_usage=client.stream_usage,
            cap=held.cap,
            adapt=client.adapt,
        )
        began = self._clock()
        timeouts = client.timeouts_for(held.target.timeouts)
        total_s = job.options.timeout_s
        deadline = facts.started_at + (
            timeouts.total_s if total_s is None else min(total_s, timeouts.total_s)
        )
        timeouts = _until(deadline, began, timeouts)
        if not self._health.begin(upstream, credential, model, client.max_concurrency, began):
            raise AttemptFailed(
                FailureClass.RATE_LIMITED,
                "The upstream has all the calls in flight it may have.",
                hint=Hint.FULL,
            )
        facts.attempts += 1
        facts.tried.append(tried)
        if facts.trace is not None:
            tried.trace, tried.began_at = facts.trace.child(), began
        try:
            response = await client.post(
                call.route.path, body, credential, timeouts, tried.trace, candidate.deployment
            )
            answer = await self._answer(call, response, began + timeouts.first_token_s, deadline, snapshot)
        except AttemptFailed as failure:
            if failure.error is not None:
                failure.error = client.hidden.hide_in(failure.error)
            tried.outcome = failure.failure.value
            raise
        except BaseException:
            self._health.gave_up(upstream, credential, model)
            raise
        else:
            tried.outcome = COMMITTED
            if self._health.troubles:
                self._health.committed(upstream, credential, model, self._clock())
            return Served(candidate, credential, response, timeouts.idle_s, deadline, answer)
        finally:
            self._counters.inc(ATTEMPTS, (upstream, tried.outcome))
            if tried.outcome is not COMMITTED:
                self._health.ended(upstream)
                if tried.trace is not None:
                    tried.ended_at = self._clock()

    def drop(self, served: Served) -> None:
        """Nobody wants this one any more."""
        served.response.abort()
        self._health.ended(served.candidate.upstream)

    async def _answer(
        self, call: Call, response: UpstreamResponse, commit_by: float, deadline: float, snapshot: Snapshot
    ) -> Pump | Reply:
        if response.status != 200:
            raise await _refused(response)
        if call.stream:
            return await self._stream(call, response, commit_by)
        return read_reply(await response.read(snapshot.settings.server.max_response_bytes, deadline))

    async def _stream(self, call: Call, response: UpstreamResponse, commit_by: float) -> Pump:
        if _is_document(response):
            body = await response.read(_MAX_ERROR_BYTES)
            read_reply(body)  # raises what the document says, if it says something
            raise AttemptFailed(FailureClass.BAD_RESPONSE, "The upstream answered a stream with a document.")
        pump = Pump(response, Stream(wants_usage=call.wants_usage, choices=call.choices), self._loop)
        await pump.committed(max(0.0, commit_by - self._clock()))
        return pump


def _until(deadline: float, now: float, timeouts: Timeouts) -> Timeouts:
    """Timeouts that end at the call's deadline."""
    left = deadline - now
    if left <= 0:
        raise AttemptFailed(FailureClass.TIMEOUT, "The call's own time limit is over.")
    if left >= timeouts.first_token_s and left >= timeouts.idle_s and left >= timeouts.connect_s:
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
    return refusal(response, body, time.time())


def _is_document(response: UpstreamResponse) -> bool:
    kind = (response.header(b"content-type") or b"").lower()
    return kind.startswith((b"application/json", b"text/html"))
