"""The pure planner: candidates and what is known of their health, into ordered attempts.

A step is the alias's own model (0) or one fallback (1 and on). Steps are tried in order. Within a step
candidates keep their order, except that where weights are given the first one is drawn by weight. What cools
down after a 429, or has all the calls in flight it may have, goes behind everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from gateway.domain.errors import FailureClass
from gateway.domain.plan import Attempt, Candidate, LeftOut, Plan, Reason, Target
from gateway.routing.health import Health


def plan(
    candidates: Sequence[Candidate],
    health: Health,
    now: float,
    draw: float,
    pin: str | None = None,
    *,
    today: str = "",
) -> Plan:
    """Order the attempts of one call.

    Args:
        candidates: in the order of the catalogue.
        health: what is known of upstreams; it is only read.
        now: monotonic seconds.
        draw: a random number in [0, 1) that decides where weights do.
        pin: the only upstream that may serve.
        today: "YYYY-MM-DD" in UTC; models whose shutdown date is past are not asked.
    """
    ready: list[Attempt] = []
    waiting: list[Attempt] = []
    left_out: list[LeftOut] = []
    first: Attempt | LeftOut | None = None
    is_well = health.is_well
    for candidate in _ordered(candidates, draw):
        found = _look(candidate, health, now, pin, today, is_well=is_well)
        first = first or found
        if isinstance(found, LeftOut):
            left_out.append(found)
        elif found.not_before or (candidate.max_concurrency is not None and _is_full(candidate, health)):
            waiting.append(found)
        else:
            ready.append(found)
    attempts = (*ready, *waiting)
    if isinstance(first, LeftOut):
        return Plan(attempts, tuple(left_out), first.reason, None)
    if waiting and ready and first is waiting[0]:
        return Plan(attempts, tuple(left_out), FailureClass.RATE_LIMITED, len(ready))
    return Plan(attempts, tuple(left_out))


def usual(target: Target, health: Health, unix: float) -> Plan | None:
    """What `plan` says of a target while all is well, kept with it; None where it may say something else.

    `unix` is the time, in seconds.
    """
    steady = target.steady
    if steady is None or health.troubles or health.cooling or unix >= steady.ends_at:
        return None
    for upstream, most in steady.places:
        if health.loads[upstream].in_flight >= most:
            return None
    return steady.plan


def _look(
    candidate: Candidate, health: Health, now: float, pin: str | None, today: str, *, is_well: bool
) -> Attempt | LeftOut:
    """May this candidate be tried? `is_well`: nothing is known to rest, anywhere."""
    upstream = candidate.upstream
    if candidate.skip is not None:
        return LeftOut(candidate, candidate.skip, candidate.detail)
    if pin is not None and upstream != pin:
        return LeftOut(candidate, Reason.PINNED_ELSEWHERE, f"the call is pinned to {pin}")
    if candidate.shutdown_date is not None and candidate.shutdown_date < today:
        return LeftOut(candidate, Reason.SUNSET, f"the model was shut down on {candidate.shutdown_date}")
    credentials = (0,) if candidate.credentials == 1 else _in_turn(candidate, health)
    if is_well:
        return Attempt(candidate, credentials)
    if health.troubles:
        rested = _rested(candidate, credentials, health, now)
        if isinstance(rested, LeftOut):
            return rested
        credentials = rested
    return _cooled(candidate, credentials, health, now)


def _rested(
    candidate: Candidate, credentials: tuple[int, ...], health: Health, now: float
) -> tuple[int, ...] | LeftOut:
    """The credentials that do not rest."""
    upstream = candidate.upstream
    if health.is_gone(upstream, candidate.model, now):
        detail = "the upstream does not have this model; it is asked again after a rest"
        return LeftOut(candidate, Reason.MODEL_GONE, detail)
    accepted = tuple(n for n in credentials if not health.is_set_aside(upstream, n, now))
    if not accepted:
        detail = "the upstream refused every credential; each is tried again after a rest"
        return LeftOut(candidate, Reason.CREDENTIAL_SET_ASIDE, detail)
    closed = tuple(n for n in accepted if not health.is_open(upstream, n, now))
    if not closed:
        rests_s = min(health.rests_s(upstream, n, now) for n in accepted)
        detail = f"the upstream failed again and again; it is asked again in {rests_s:.0f} s"
        return LeftOut(candidate, Reason.BREAKER_OPEN, detail, rests_s)
    return closed


def _cooled(candidate: Candidate, credentials: tuple[int, ...], health: Health, now: float) -> Attempt:
    """Credentials that cool down stand behind the others; where all do, the attempt has to wait."""
    if len(credentials) == 1:
        until = health.cooling_until(candidate.upstream, credentials[0], candidate.model, now)
        return Attempt(candidate, credentials, until)
    times = {n: health.cooling_until(candidate.upstream, n, candidate.model, now) for n in credentials}
    cool = [n for n in credentials if not times[n]]
    hot = sorted((n for n in credentials if times[n]), key=times.__getitem__)
    return Attempt(candidate, (*cool, *hot), 0.0 if cool else times[hot[0]])


def _is_full(candidate: Candidate, health: Health) -> bool:
    most = candidate.max_concurrency
    return most is not None and health.in_flight(candidate.upstream) >= most


def _ordered(candidates: Sequence[Candidate], draw: float) -> Sequence[Candidate]:
    for candidate in candidates:
        if candidate.weight is not None:
            break
    else:
        return candidates
    steps = dict.fromkeys(candidate.step for candidate in candidates)
    return list(chain.from_iterable(_draw_first([c for c in candidates if c.step == n], draw) for n in steps))


def _draw_first(candidates: list[Candidate], draw: float) -> list[Candidate]:
    """Put the candidate that the draw falls on in front; the others stay in order, as failover.

    What is known to be unable to serve takes no share of the traffic.
    """
    shares = [0 if c.skip else (c.weight or 0) for c in candidates]
    total = sum(shares)
    if total <= 0:
        return candidates
    point = draw * total
    for index, share in enumerate(shares):
        if point < share:
            return [candidates[index], *candidates[:index], *candidates[index + 1 :]]
        point -= share
    return candidates


def _in_turn(candidate: Candidate, health: Health) -> tuple[int, ...]:
    """The credentials of a candidate, the one whose turn it is first."""
    count = candidate.credentials
    turn = health.turn(candidate.upstream)
    return tuple((turn + offset) % count for offset in range(count))
