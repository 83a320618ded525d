"""Where a call may go: candidates, what is left out and why, and the ordered attempts.

An *attempt* is one call of one upstream for one model. Attempts are tried in order until one commits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import msgspec
from msgspec import Raw

from gateway.domain.cache import CachePolicy
from gateway.domain.errors import FailureClass


class Reason(StrEnum):
    """Why a candidate is no attempt, in the words of `explain` and of `x-tunegate-fallback`."""

    NOT_OWNED = "not_owned"
    DISABLED = "disabled"
    NOT_SERVED = "not_served"
    SUNSET = "sunset"
    MODEL_GONE = "model_gone"
    BREAKER_OPEN = "breaker_open"
    CREDENTIAL_SET_ASIDE = "credential_set_aside"
    PINNED_ELSEWHERE = "pinned_elsewhere"
    NOT_ALLOWED = "not_allowed"
    PRICE_UNKNOWN = "price_unknown"


UNPRICED = "its price is unknown, and the key has a budget or credit"
"""The detail that goes with `Reason.PRICE_UNKNOWN`."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """How a body changes for a model that wants it otherwise.

    Applied in this order: `drop`, `rename` (old name to new), `set`, then the system prompt in front.
    """

    name: str
    drop: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    set: tuple[tuple[str, Raw], ...] = ()
    system_message: bytes | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model at one upstream.

    Args:
        step: 0 is what the alias points at, 1 and on are its fallbacks in order.
        weight: share of the first choice within the step; None where the order is fixed.
        credentials: how many the upstream has (an upstream without any counts as one, anonymous).
        adapter: body fields that choose this model at an upstream that serves several behind one id.
        deployment: what the upstream calls the model, where that is not its id.
        skip: a reason known when the catalogue was made.
        shutdown_date: "YYYY-MM-DD", the day the model ends at this upstream, where known.
        max_concurrency: calls that one process may have in flight at the upstream; None: any.
    """

    upstream: str
    model: str
    step: int = 0
    rewrite: Rewrite | None = None
    weight: int | None = None
    credentials: int = 1
    adapter: tuple[tuple[str, Raw], ...] = ()
    deployment: str | None = None
    skip: Reason | None = None
    detail: str = ""
    shutdown_date: str | None = None
    max_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A candidate that will not be tried, and why. It may be able to serve in `rests_s`, where known."""

    candidate: Candidate
    reason: Reason
    detail: str
    rests_s: float | None = None


class Attempt(msgspec.Struct, frozen=True):
    """A candidate that will be tried, with its credentials in the order they are used.

    `not_before` is a reading of the planner's clock: until then it cools down, and others go first.
    """

    candidate: Candidate
    credentials: tuple[int, ...]
    not_before: float = 0.0


class Plan(msgspec.Struct, frozen=True):
    """Ordered attempts, the candidates left out, and why the first target will not serve, if it will not.

    `first_skipped` is a class of failure where the first target is only put behind others: it was rate
    limited of late, or has all the calls in flight that it may have. `first_at` is its place among the
    attempts; None where it was left out.
    """

    attempts: tuple[Attempt, ...]
    left_out: tuple[LeftOut, ...]
    first_skipped: Reason | FailureClass | None = None
    first_at: int | None = 0

    def first_only(self) -> Plan:
        """The plan of a caller that wants no fallback: the first target serves, or nobody does."""
        if self.first_skipped is None:
            return Plan(self.attempts[:1], self.left_out)
        attempts = self.attempts[self.first_at : self.first_at + 1] if self.first_at is not None else ()
        return Plan(attempts, self.left_out, self.first_skipped)


class Steady(NamedTuple):
    """The plan of every call of a target while all is well.

    Args:
        ends_at: it holds until then, unix seconds: the end of the first day in UTC that a model ends on.
        places: of upstreams, each with the calls in flight that it may have: it holds while none is full.
    """

    plan: Plan
    ends_at: float
    places: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Target:
    """What a requested name means: where it may go, and what holds for the call whoever serves it.

    Args:
        name: as requested.
        alias: the alias of that name, or None for a raw model id.
        release: "support@3/stable", None for a raw id.
        defaults: body fields filled in where the client is silent.
        fallback_on: classes of failure that let the call move on.
        timeouts: overrides of the upstream's, in seconds, by their configured names.
        max_output_tokens: cap on output where the caller names none.
        hedge: a second attempt may be made beside a slow one.
        cache: how its answers are kept; None: not at all.
    """

    name: str
    alias: str | None
    release: str | None
    candidates: tuple[Candidate, ...]
    defaults: tuple[tuple[str, Raw], ...] = ()
    fallback_on: frozenset[str] = frozenset()
    timeouts: Mapping[str, float] | None = None
    max_output_tokens: int | None = None
    hedge: bool = False
    cache: CachePolicy | None = None

    @cached_property
    def steady(self) -> Steady | None:
        """What is planned while nothing rests and all upstreams have room for more.

        None where that is another plan from call to call: by weight, or because credentials take turns.
        """
        serving = [candidate for candidate in self.candidates if candidate.skip is None]
        if any(candidate.weight is not None for candidate in self.candidates):
            return None
        if any(candidate.credentials > 1 for candidate in serving):
            return None
        left_out = tuple(LeftOut(c, c.skip, c.detail) for c in self.candidates if c.skip is not None)
        attempts = tuple(Attempt(candidate, (0,)) for candidate in serving)
        first_skip = self.candidates[0].skip if self.candidates else None
        plan = Plan(attempts, left_out, first_skip, 0 if first_skip is None else None)
        ends_at = min((_end_of(c.shutdown_date) for c in serving if c.shutdown_date), default=math.inf)
        places = {(c.upstream, c.max_concurrency) for c in serving if c.max_concurrency is not None}
        return Steady(plan, ends_at, tuple(sorted(places)))


def _end_of(day: str) -> float:
    """Unix seconds."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() + 86400
