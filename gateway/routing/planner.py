"""The pure planner: candidates and what is known of their health, into ordered attempts.

A step is the alias's own model (0) or one fallback (1 and on). Steps are tried in order. Within a step
candidates keep their order, except that where weights are given the first one is drawn by weight.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.plan import Attempt, Candidate, LeftOut, Plan, Reason
from gateway.routing.health import Health

MAX_ATTEMPTS = 6


def plan(
    candidates: Sequence[Candidate], health: Health, now: float, draw: float, pin: str | None = None
) -> Plan:
    """Order the attempts of one call.

    Args:
        candidates: in the order of the catalogue.
        health: what is known of upstreams; it is only read.
        now: monotonic seconds.
        draw: a random number in [0, 1) that decides where weights do.
        pin: the only upstream that may serve.
    """
    attempts: list[Attempt] = []
    left_out: list[LeftOut] = []
    first_skipped: Reason | None = None
    for position, candidate in enumerate(_ordered(candidates, draw)):
        reason, detail = candidate.skip, candidate.detail
        credentials: tuple[int, ...] = ()
        if reason is None and pin is not None and candidate.upstream != pin:
            reason, detail = Reason.PINNED_ELSEWHERE, f"the call is pinned to {pin}"
        if reason is None:
            credentials = _usable_credentials(candidate, health, now)
            if not credentials:
                reason = Reason.CREDENTIAL_SET_ASIDE
                detail = "the upstream refused every credential; each is tried again after a rest"
        if reason is None:
            attempts.append(Attempt(candidate, credentials))
            continue
        left_out.append(LeftOut(candidate, reason, detail))
        if position == 0:
            first_skipped = reason
    return Plan(tuple(attempts[:MAX_ATTEMPTS]), tuple(left_out), first_skipped)


def _ordered(candidates: Sequence[Candidate], draw: float) -> Sequence[Candidate]:
    if len(candidates) < 2 or all(candidate.weight is None for candidate in candidates):
        return candidates
    ordered: list[Candidate] = []
    for step in dict.fromkeys(candidate.step for candidate in candidates):
        ordered.extend(_draw_first([c for c in candidates if c.step == step], draw))
    return ordered


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


def _usable_credentials(candidate: Candidate, health: Health, now: float) -> tuple[int, ...]:
    count = candidate.credentials
    if count == 1:
        return (0,) if health.is_ready(candidate.upstream, 0, now) else ()
    turn = health.turn(candidate.upstream)
    rotated = ((turn + offset) % count for offset in range(count))
    return tuple(n for n in rotated if health.is_ready(candidate.upstream, n, now))
