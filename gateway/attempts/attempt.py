"""One attempt: a call of one upstream, up to its commit point."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

from gateway.attempts.job import Job
from gateway.attempts.served import Served
from gateway.catalog.rewrite import body_for
from gateway.domain.call import Call
from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.domain.facts import Facts, Tried
from gateway.domain.plan import Attempt, Candidate
from gateway.relay.pump import Pump
from gateway.relay.reply import Reply, read_reply
from gateway.relay.stream import Stream
from gateway.routing.health import Health
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import ATTEMPTS
from gateway.upstream.classify import refusal
from gateway.upstream.client import UpstreamClient
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
        self._outcomes = counters.numbers(ATTEMPTS)
        self._loop = loop
        self._clock = clock

    async def run(
        self, attempt: Attempt, credential: int, job: Job, now: float, tried: Tried | None = None
    ) -> Served | None:
        """Make one attempt; None where it failed, as `tried`, the course and the health then know."""
        call, facts, candidate = job.call, job.facts, attempt.candidate
        upstream = candidate.upstream
        client = job.snapshot.clients[upstream]
        tried = tried or begin(candidate, facts)
        is_under_way = False
        try:
            timeouts, deadline = _bounds(client, job, now)
            body = body_for(call, job.held.target, candidate, client.stream_usage, job.held.cap, client.adapt)
            self._health.begin(upstream, credential, candidate.model, client.max_concurrency, now)
            is_under_way = True
            facts.attempts += 1
            facts.tried.append(tried)
            if facts.trace is not None:
                tried.trace, tried.began_at = facts.trace.child(), now
            response = await client.post(
                call.route.path, body, credential, timeouts, tried.trace, candidate.deployment
            )
            answer: Reply | Pump
            if response.status != 200:
                await _refuse(response)
            if call.stream:
                answer = await self._stream(call, response, now + timeouts.first_token_s)
            else:
                most, reply = job.snapshot.max_response_bytes, response.whole
                if reply is None or len(reply) > most:
                    reply = await response.read(most, deadline)
                answer = read_reply(reply)
        except AttemptFailed as failure:
            if is_under_way:
                self._over(candidate, tried, failure.failure.value)
            self._learn(attempt, credential, job, failure)
            return None
        except BaseException:  # cancelled, too: what was begun is counted out
            if is_under_way:
                self._health.gave_up(upstream, credential, candidate.model)
                self._over(candidate, tried, tried.outcome)
            raise
        tried.outcome = COMMITTED
        self._outcomes[upstream, COMMITTED] += 1
        if self._health.troubles:
            self._health.committed(upstream, credential, candidate.model, self._clock())
        request_id = _id_of(response, client)
        return Served(candidate, credential, response, timeouts.idle_s, deadline, answer, request_id)

    def _over(self, candidate: Candidate, tried: Tried, outcome: str) -> None:
        """An attempt that was under way has ended without a commitment."""
        tried.outcome = outcome
        self._outcomes[candidate.upstream, outcome] += 1
        self._health.ended(candidate.upstream)
        if tried.trace is not None:
            tried.ended_at = self._clock()

    def _learn(self, attempt: Attempt, credential: int, job: Job, failure: AttemptFailed) -> None:
        candidate, now = attempt.candidate, self._clock()
        if failure.error is not None:
            failure.error = job.snapshot.clients[candidate.upstream].hidden.hide_in(failure.error)
        if failure.failure is not FailureClass.REJECTED:
            self._health.failed(candidate.upstream, credential, candidate.model, failure, now)
        # Kept to be told, not raised: its frames hold the job, which holds the course, which holds it.
        job.course.failed(attempt, credential, failure.with_traceback(None), now)

    def drop(self, served: Served) -> None:
        """Nobody wants this one any more."""
        served.response.abort()
        self._health.ended(served.candidate.upstream)

    async def _stream(self, call: Call, response: UpstreamResponse, commit_by: float) -> Pump:
        if _is_document(response):
            body = await response.read(_MAX_ERROR_BYTES)
            read_reply(body)  # raises what the document says, if it says something
            raise AttemptFailed(FailureClass.BAD_RESPONSE, "The upstream answered a stream with a document.")
        pump = Pump(response, Stream(wants_usage=call.wants_usage, choices=call.choices), self._loop)
        await pump.committed(max(0.0, commit_by - self._clock()))
        return pump


def begin(candidate: Candidate, facts: Facts) -> Tried:
    """Leave the trace of an attempt before it is made: whoever is cancelled in it was at work."""
    upstream = facts.upstream = candidate.upstream
    model = facts.model = candidate.model
    facts.shutdown_date = candidate.shutdown_date
    return Tried(upstream, model)


def _bounds(client: UpstreamClient, job: Job, now: float) -> tuple[Timeouts, float]:
    """Timeouts that end at the call's deadline, and that deadline."""
    overrides, asked_s = job.held.target.timeouts, job.options.timeout_s
    timeouts = client.timeouts if overrides is None else client.timeouts_for(overrides)
    total_s = timeouts.total_s if asked_s is None else min(asked_s, timeouts.total_s)
    deadline = job.facts.started_at + total_s
    left_s = deadline - now
    if left_s < timeouts.longest_s:
        if left_s <= 0:
            raise AttemptFailed(FailureClass.TIMEOUT, "The call's own time limit is over.")
        timeouts = timeouts.within(left_s)
    return timeouts, deadline


def _id_of(response: UpstreamResponse, client: UpstreamClient) -> str | None:
    """The upstream's own name for the request, without what nobody is told."""
    request_id = response.header(b"x-request-id")
    return client.hidden.hide(request_id[:200].decode("latin-1")) if request_id else None


async def _refuse(response: UpstreamResponse) -> NoReturn:
    """Read an answer other than 200 and raise what it means. Redirects are answers too: none is followed."""
    try:
        body = await response.read(_MAX_ERROR_BYTES)
    except AttemptFailed:
        body = b""  # the status alone has to do
    raise refusal(response, body, time.time())


def _is_document(response: UpstreamResponse) -> bool:
    kind = (response.header(b"content-type") or b"").lower()
    return kind.startswith((b"application/json", b"text/html"))
