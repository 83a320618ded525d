"""Runs the attempts of calls: the course says what is next, here it is waited for, called and learnt from."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from gateway.attempts.attempt import Attempting, begin
from gateway.attempts.budget import RetryBudget
from gateway.attempts.conclusion import conclusion
from gateway.attempts.job import Job
from gateway.attempts.served import Held, Served
from gateway.domain.call import Call, CallOptions
from gateway.domain.errors import FailureClass, GatewayError, UpstreamRejected
from gateway.domain.facts import Facts, Tried
from gateway.domain.plan import Candidate, Plan
from gateway.routing.course import Step, at_once
from gateway.routing.health import Health
from gateway.routing.pace import Pace
from gateway.snapshot import Snapshot
from gateway.telemetry.counters import Counters

HEDGED = "hedged"
"""The outcome of an attempt that another one of the same call has overtaken."""


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
        began, skipped, timeout_s = self._clock(), plan.first_skipped, options.timeout_s
        facts.fallback = "none" if skipped is None else skipped.value
        is_late = timeout_s is not None and began > facts.started_at + timeout_s
        first = None if is_late or held.target.hedge else at_once(plan)  # else the course says what is first
        job = Job(call, held, plan, options, snapshot, facts, first is not None)
        self._budget.calls += 1
        try:
            served = (
                None if first is None else await self._attempting.run(first, first.credentials[0], job, began)
            )
            if served is None:
                served = await self._follow(job)
            elif skipped is not None:
                _note_fallback(served.candidate, job)
        except BaseException:  # cancelled, too: the call is counted out
            self._budget.calls -= 1
            raise
        finally:
            facts.upstream_s += self._clock() - began
        facts.upstream_request_id = served.request_id
        return served

    def release(self, served: Served) -> None:
        """The reply has left: its upstream has one call less in flight."""
        candidate, health = served.candidate, self._health
        self._budget.calls -= 1
        health.ended(candidate.upstream)
        if served.is_broken:
            health.broke(candidate.upstream, served.credential, self._clock())
        elif health.troubles:
            health.succeeded(candidate.upstream, served.credential, candidate.model, self._clock())

    async def _follow(self, job: Job) -> Served:
        """Take the steps of the course, until one serves."""
        is_first = not job.is_begun
        while (step := job.course.next(self._clock(), self._draw())) is not None:
            served = await self._take(step, job)
            if served is not None:
                if not is_first or job.plan.first_skipped is not None:
                    _note_fallback(served.candidate, job)
                return served
            is_first = False
        raise self._conclusion(job)

    async def _take(self, step: Step, job: Job) -> Served | None:
        """A step, with what may be more to it than its attempt: a pause, a budget, another one beside it."""
        candidate = step.attempt.candidate
        if step.is_retry:
            if self._health.is_open(candidate.upstream, step.credential, self._clock()):
                job.course.skip(step)
                return None
            if not self._budget.take():
                job.course.end()
                return None
        try:
            if step.wait_s:
                await asyncio.sleep(step.wait_s)
            if job.held.target.hedge:
                return await self._paced(step, job)
            return await self._attempting.run(step.attempt, step.credential, job, self._clock())
        finally:
            if step.is_retry:
                self._budget.give_back()

    async def _paced(self, step: Step, job: Job) -> Served | None:
        """One attempt, or two where the first is slow; None where nobody served."""
        candidate, stream = step.attempt.candidate, job.call.stream
        began = self._clock()
        slow_s = None if step.is_retry else self._pace.p95(candidate.upstream, candidate.model, stream=stream)
        if slow_s is None:
            served = await self._attempting.run(step.attempt, step.credential, job, began)
        else:
            served = await self._hedged(step, job, slow_s)
        if served is not None:
            winner = served.candidate
            self._pace.took(winner.upstream, winner.model, self._clock() - began, stream=stream)
            _note_winner(winner, job.facts)
        return served

    def _conclusion(self, job: Job) -> GatewayError:
        """What the caller is told where nobody served."""
        _note_fallback(None, job)
        failures = job.course.failures
        if failures and failures[-1].failure is FailureClass.REJECTED:
            last = failures[-1]
            return UpstreamRejected(last.status or 400, last.error or {})
        return conclusion(failures, job.held.target, job.plan, self._clock())

    async def _hedged(self, step: Step, job: Job, slow_s: float) -> Served | None:
        """Start a second attempt where the first takes longer than most; the slower one is given up."""
        running = dict([self._start(step, job)])
        has_hedge = False
        try:
            done, _ = await asyncio.wait(running, timeout=slow_s)
            if not done and self._budget.take():
                has_hedge = True
                running.update([self._start(job.course.hedge(step), job)])
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

    def _start(self, step: Step, job: Job) -> tuple[asyncio.Task[Served | None], Tried]:
        """An attempt beside others, and the trace of it."""
        tried = begin(step.attempt.candidate, job.facts)
        run = self._attempting.run(step.attempt, step.credential, job, self._clock(), tried)
        return asyncio.create_task(run), tried


def _note_winner(candidate: Candidate, facts: Facts) -> None:
    """Say who served, where it may be another one than was asked last."""
    facts.upstream, facts.model = candidate.upstream, candidate.model
    facts.shutdown_date = candidate.shutdown_date


def _note_fallback(server: Candidate | None, job: Job) -> None:
    """Say why the first target did not serve, if it did not; the planner's reason was said before."""
    plan = job.plan
    first = plan.attempts[plan.first_at].candidate if plan.attempts and plan.first_at is not None else None
    if first is None:
        return
    if server is first:
        job.facts.fallback = "none"
    elif job.has_course and (failure := job.course.failure_of(first)) is not None:
        job.facts.fallback = failure.value
