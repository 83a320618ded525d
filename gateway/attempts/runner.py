"""Runs the attempts of calls: the course says what is next, here it is waited for, called and learnt from."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

import msgspec

from gateway.attempts.attempt import Attempting
from gateway.attempts.budget import RetryBudget
from gateway.attempts.conclusion import conclusion
from gateway.attempts.served import Held, Served
from gateway.domain.call import Call, CallOptions
from gateway.domain.errors import AttemptFailed, FailureClass, UpstreamRejected
from gateway.domain.facts import Facts, Tried
from gateway.domain.plan import Plan
from gateway.routing.course import Course, Step
from gateway.routing.health import Health
from gateway.routing.pace import Pace
from gateway.snapshot import Snapshot
from gateway.telemetry.counters import Counters

HEDGED = "hedged"
"""The outcome of an attempt that another one of the same call has overtaken."""


class Job(msgspec.Struct, frozen=True):
    """One call on its way through its plan."""

    call: Call
    held: Held
    plan: Plan
    options: CallOptions
    snapshot: Snapshot
    facts: Facts
    course: Course


class Attempts:
    """Runs attempts.

    Args:
        health: told how each attempt went.
        counters: told the outcome of each attempt.
        clock: monotonic seconds, the clock of `Facts`.
        draw: random numbers in [0, 1).
    """

    def __init__(
        self,
        health: Health,
        counters: Counters,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._health = health
        self._clock = clock
        self._draw = draw
        self._pace = Pace()
        self._budget = RetryBudget()
        self._attempting = Attempting(health, counters, loop, clock)

    async def run(
        self, call: Call, held: Held, plan: Plan, options: CallOptions, snapshot: Snapshot, facts: Facts
    ) -> Served:
        """Try as the course says, until one commits; then `release` it. Attempts leave traces in `facts`.

        Raises:
            UpstreamRejected: an upstream says that the request itself is at fault.
            ModelNotFound, AllRateLimited, UpstreamTimedOut, UpstreamsFailed, NoUpstream: nobody served.
        """
        job = Job(call, held, plan, options, snapshot, facts, _course(held, plan, options, snapshot, facts))
        facts.fallback = plan.first_skipped.value if plan.first_skipped else "none"
        self._budget.began()
        try:
            return await self._follow(job)
        except BaseException:
            self._budget.ended()
            raise

    def release(self, served: Served) -> None:
        """The reply has left: its upstream has one call less in flight."""
        self._budget.ended()
        candidate, credential = served.candidate, served.credential
        self._health.ended(candidate.upstream)
        if served.is_broken:
            self._health.broke(candidate.upstream, credential, self._clock())
        elif self._health.has_troubles:
            self._health.succeeded(candidate.upstream, credential, candidate.model, self._clock())

    async def _follow(self, job: Job) -> Served:
        course, facts = job.course, job.facts
        while (step := course.next(self._clock(), self._draw())) is not None:
            candidate = step.attempt.candidate
            if step.is_retry and self._health.is_open(candidate.upstream, step.credential, self._clock()):
                course.skip(step)
                continue
            if step.is_retry and not self._budget.take():
                break
            began = self._clock()
            try:
                if step.wait_s:
                    await asyncio.sleep(step.wait_s)
                if job.held.target.hedge:
                    served = await self._step(step, job)
                else:
                    served = await self._attempt(step, job, _begin(step, job))
            finally:
                facts.upstream_s += self._clock() - began
                if step.is_retry:
                    self._budget.give_back()
            if served is not None:
                self._note_fallback(served, job)
                return served
        self._note_fallback(None, job)
        last = course.failures[-1] if course.failures else None
        if last is not None and last.failure is FailureClass.REJECTED:
            raise UpstreamRejected(last.status or 400, last.error or {}) from last
        raise conclusion(course.failures, job.held.target, job.plan, self._clock())

    async def _step(self, step: Step, job: Job) -> Served | None:
        """One attempt, or two where the first is slow; None where nobody served."""
        candidate, stream = step.attempt.candidate, job.call.stream
        began = self._clock()
        slow_s = None if step.is_retry else self._pace.p95(candidate.upstream, candidate.model, stream=stream)
        if slow_s is None:
            served = await self._attempt(step, job, _begin(step, job))
        else:
            served = await self._hedged(step, job, slow_s)
        if served is not None:
            winner = served.candidate
            self._pace.took(winner.upstream, winner.model, self._clock() - began, stream=stream)
        return served

    async def _attempt(self, step: Step, job: Job, tried: Tried) -> Served | None:
        try:
            return await self._attempting.run(
                step, job.call, job.held, job.options, job.snapshot, job.facts, tried
            )
        except AttemptFailed as failure:
            candidate, now = step.attempt.candidate, self._clock()
            if failure.failure is not FailureClass.REJECTED:
                self._health.failed(candidate.upstream, step.credential, candidate.model, failure, now)
            # Kept to be told, not raised: its frames hold the job, which holds the course, which holds it.
            job.course.failed(step, failure.with_traceback(None), now)
            return None

    async def _hedged(self, step: Step, job: Job, slow_s: float) -> Served | None:
        """Start a second attempt where the first takes longer than most; the slower one is given up."""
        running = {asyncio.create_task(self._attempt(step, job, first := _begin(step, job))): first}
        has_hedge = False
        try:
            done, _ = await asyncio.wait(running, timeout=slow_s)
            if not done and self._budget.take():
                has_hedge = True
                second_step = job.course.hedge(step)
                second = _begin(second_step, job)
                running[asyncio.create_task(self._attempt(second_step, job, second))] = second
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del running[task]
                    served = task.result()
                    if served is not None:
                        for loser in running.values():
                            loser.outcome = HEDGED
                        return served
            return None
        finally:
            if has_hedge:
                self._budget.give_back()
            for task in running:
                task.cancel()
            late = await asyncio.gather(*running, return_exceptions=True)
            for other in late:
                if isinstance(other, Served):  # it committed in the same moment
                    self._attempting.drop(other)

    def _note_fallback(self, served: Served | None, job: Job) -> None:
        """Say which target served, and why the first one did not."""
        facts, plan = job.facts, job.plan
        first = (
            plan.attempts[plan.first_at].candidate if plan.first_at is not None and plan.attempts else None
        )
        if served is not None and served.candidate is first:
            facts.fallback = "none"
        elif first is not None and (failure := job.course.failure_of(first)) is not None:
            facts.fallback = failure.value
        if served is not None:
            candidate = served.candidate
            facts.upstream, facts.model = candidate.upstream, candidate.model
            facts.shutdown_date = candidate.shutdown_date
            request_id = served.response.header(b"x-request-id")
            hidden = job.snapshot.clients[candidate.upstream].hidden
            facts.upstream_request_id = (
                hidden.hide(request_id.decode("latin-1")[:200]) if request_id else None
            )


def _course(held: Held, plan: Plan, options: CallOptions, snapshot: Snapshot, facts: Facts) -> Course:
    deadline = math.inf if options.timeout_s is None else facts.started_at + options.timeout_s
    patience_s = 0.0
    if plan.attempts:
        client = snapshot.clients[plan.attempts[0].candidate.upstream]
        patience_s = client.timeouts_for(held.target.timeouts).first_token_s
    return Course(plan, held.target.fallback_on, patience_s, deadline)


def _begin(step: Step, job: Job) -> Tried:
    """Leave the trace of an attempt before it is made: whoever is cancelled in it was at work."""
    candidate = step.attempt.candidate
    tried = Tried(candidate.upstream, candidate.model)
    facts = job.facts
    facts.upstream, facts.model = candidate.upstream, candidate.model
    facts.shutdown_date = candidate.shutdown_date
    return tried
