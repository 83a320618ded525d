"""One call on its way through its plan."""

from __future__ import annotations

import math

import msgspec

from gateway.attempts.served import Held
from gateway.domain.call import Call, CallOptions
from gateway.domain.facts import Facts
from gateway.domain.plan import Plan
from gateway.routing.course import Course
from gateway.snapshot import Snapshot


class Job(msgspec.Struct):
    """What an attempt has to know. Only a call that fails or is hedged ever has a course.

    `is_begun`: its first attempt is made at once, and without a course.
    """

    call: Call
    held: Held
    plan: Plan
    options: CallOptions
    snapshot: Snapshot
    facts: Facts
    is_begun: bool = False
    has_course: bool = False
    _course: Course | None = None

    @property
    def course(self) -> Course:
        """What comes after the first attempt."""
        if self._course is None:
            target, patience_s = self.held.target, 0.0
            if self.plan.attempts:
                client = self.snapshot.clients[self.plan.attempts[0].candidate.upstream]
                patience_s = client.timeouts_for(target.timeouts).first_token_s
            self._course = Course(
                self.plan, target.fallback_on, patience_s, self._deadline, begun=self.is_begun
            )
            self.has_course = True
        return self._course

    @property
    def _deadline(self) -> float:
        """The end of the caller's own patience."""
        timeout_s = self.options.timeout_s
        return math.inf if timeout_s is None else self.facts.started_at + timeout_s
