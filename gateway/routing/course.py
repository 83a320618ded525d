"""The course of one call through its plan: what is tried next after what failed, how soon, and when to stop.

    a refused credential, or 429      the next credential of the same target, at once
    429 "model still being loaded"    the same target again, as long as a first token may take
    any class in `fallback_on`        the next target of the plan
    no other target left              connect, server_error, bad_response: again, after a random pause
                                      429: again, after the time that the upstream named
                                      anything else: the end

A retry asks a target that failed already; moving on is none. At most `PER_TARGET` attempts of one target and
`PER_CALL` of one call are made; those that a loading model or the next credential takes do not count to the
target's. A call that is the caller's own mistake ends at once.
"""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet

import msgspec

from gateway.domain.errors import AttemptFailed, FailureClass, Hint
from gateway.domain.plan import Attempt, Candidate, Plan

PER_TARGET = 3
PER_CALL = 6
LONGEST_WAIT_S = 10.0
"""A call does not wait longer than this for targets that are rate limited: its client is told instead."""
PAUSE_S = 0.25
"""The first retry's pause is a random part of this; it doubles with each."""
LOADING_PAUSE_S = 1.0

_AGAIN = frozenset(
    {FailureClass.CONNECT, FailureClass.SERVER_ERROR, FailureClass.BAD_RESPONSE, FailureClass.RATE_LIMITED}
)
_NEXT_CREDENTIAL = frozenset({FailureClass.CREDENTIAL, FailureClass.RATE_LIMITED})


class Step(msgspec.Struct, frozen=True):
    """The next attempt: of which target, with which credential, how long to wait before it.

    `is_retry` asks a target that failed, for which the process has a budget.
    """

    attempt: Attempt
    credential: int
    wait_s: float = 0.0
    is_retry: bool = False


class _Target(msgspec.Struct):
    """How a target fared."""

    attempt: Attempt
    credentials: tuple[int, ...]
    tries: int = 0
    not_before: float = 0.0
    loading_since: float | None = None
    last: FailureClass | None = None
    is_over: bool = False
    refused: tuple[int, ...] = ()


def at_once(plan: Plan) -> Attempt | None:
    """What nearly all calls begin with, and most end with: the first target, where it is ready.

    Its first credential is used. It is a step without a wait, and kept with its plan.
    """
    attempts = plan.attempts
    return attempts[0] if attempts and not attempts[0].not_before else None


class Course:
    """Decides; it neither waits nor calls. Times are readings of a monotonic clock, in seconds.

    Args:
        begun: the attempt `at_once` was made.
        fallback_on: classes of failure that let the call move on.
        patience_s: how long a call may wait for a model that is being loaded.
        deadline: nothing is waited for beyond it.
    """

    def __init__(
        self,
        plan: Plan,
        fallback_on: AbstractSet[str],
        patience_s: float,
        deadline: float = math.inf,
        *,
        begun: bool = False,
    ) -> None:
        self.failures: list[AttemptFailed] = []
        self._targets = [
            _Target(attempt, attempt.credentials, 0, attempt.not_before) for attempt in plan.attempts
        ]
        self._fallback_on = fallback_on
        self._patience_s = patience_s
        self._deadline = deadline
        self._current: _Target | None = None
        self._stays = False
        self._is_over = False
        self._waited_s = 0.0
        if begun:
            self._current = self._targets[0]
            self._current.tries = 1

    def next(self, now: float, draw: float) -> Step | None:
        """What to try next; None where the call has failed.

        Args:
            draw: a random number in [0, 1), for the pause before a retry.
        """
        if (
            self._is_over
            or len(self.failures) >= PER_CALL
            or (self.failures and self._last is FailureClass.REJECTED)
        ):
            return None
        step = self._step(now, draw)
        if step is None or now + step.wait_s > self._deadline:
            return None
        if not self._stays:
            self._waited_s += step.wait_s
        return step

    def hedge(self, step: Step) -> Step:
        """A second attempt beside a slow one: the same model at another upstream, or there once more."""
        slow = self._of(step.attempt)
        for target in self._targets:
            same = target.attempt.candidate.step == slow.attempt.candidate.step
            if same and not target.tries and not target.not_before:
                target.tries += 1
                return Step(target.attempt, target.credentials[0])
        slow.tries += 1
        return Step(step.attempt, step.credential)

    def skip(self, step: Step) -> None:
        """The step was not made, and its target is not asked again."""
        self._of(step.attempt).is_over = True

    def end(self) -> None:
        """Nothing more is tried."""
        self._is_over = True

    def failure_of(self, candidate: Candidate) -> FailureClass | None:
        """How a target failed last; None where it did not."""
        return next((t.last for t in self._targets if t.attempt.candidate is candidate), None)

    def failed(self, attempt: Attempt, credential: int, failure: AttemptFailed, now: float) -> None:
        """An attempt with this credential failed."""
        target = self._of(attempt)
        self.failures.append(failure)
        target.last = failure.failure
        self._stays = False
        if failure.hint is Hint.LOADING:
            target.loading_since = target.loading_since if target.loading_since is not None else now
            soon = now + (failure.retry_after_s or LOADING_PAUSE_S)
            if soon - target.loading_since <= self._patience_s:
                target.not_before = soon
                self._stays = True
                self.failures.pop()  # not an attempt that counts: the model is on its way
                return
        if failure.failure in _NEXT_CREDENTIAL and credential in target.credentials:
            target.credentials = tuple(n for n in target.credentials if n != credential)
            if failure.failure is FailureClass.CREDENTIAL or failure.hint is Hint.TOO_LARGE:
                target.refused += (credential,)
            self._stays = bool(target.credentials)
            target.not_before = now
            if not self._stays:
                target.credentials = tuple(n for n in target.attempt.credentials if n not in target.refused)
                target.is_over = not target.credentials
                target.not_before = now + (failure.retry_after_s or 0.0)
        if failure.failure not in _AGAIN:
            target.is_over = target.is_over or not self._stays

    @property
    def _last(self) -> FailureClass:
        return self.failures[-1].failure

    @property
    def _may_move_on(self) -> bool:
        if not self.failures:
            return True  # what is loading takes too long elsewhere
        return self._last in self._fallback_on or self._last is FailureClass.CREDENTIAL

    def _of(self, attempt: Attempt) -> _Target:
        return next(target for target in self._targets if target.attempt is attempt)

    def _step(self, now: float, draw: float) -> Step | None:
        current = self._current
        if current is not None and self._stays:
            return self._again(current, now)
        if current is None or self._may_move_on:
            for target in self._targets:
                if not target.tries and self._is_near(target, now):
                    self._current = target
                    target.tries = 1
                    return self._again(target, now)
        return self._retry(now, draw)

    def _is_near(self, target: _Target, now: float) -> bool:
        """It may be asked soon enough for this call."""
        return not target.not_before or self._waited_s + target.not_before - now <= LONGEST_WAIT_S

    def _again(self, target: _Target, now: float) -> Step:
        return Step(target.attempt, target.credentials[0], max(0.0, target.not_before - now))

    def _retry(self, now: float, draw: float) -> Step | None:
        """The target that was tried least often, the first of the plan among equals."""
        allowed = self._targets if self._may_move_on else [t for t in self._targets if t is self._current]
        ready = [
            target
            for target in allowed
            if target.tries
            and not target.is_over
            and target.tries < PER_TARGET
            and self._is_near(target, now)
        ]
        if not ready:
            return None
        target = min(ready, key=lambda each: each.tries)
        pause_s = draw * PAUSE_S * 2 ** (target.tries - 1)
        self._current = target
        target.tries += 1
        return Step(
            target.attempt, target.credentials[0], max(pause_s, target.not_before - now), is_retry=True
        )
