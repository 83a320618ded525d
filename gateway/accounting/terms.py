"""What all calls rest on that are alike: of one key, for one target, by one route."""

from __future__ import annotations

from functools import lru_cache

from gateway.accounting.quote import cap_of, longest_answer
from gateway.attempts.served import Held
from gateway.domain.call import Call
from gateway.domain.plan import Target
from gateway.domain.principal import Principal
from gateway.limits.values import Bounds, Budget
from gateway.metering.record import Basis
from gateway.snapshot import Snapshot

KEPT = 4096
"""Whoever is in use by more keys and targets makes some anew: that costs little, and to forget many at once
would hold up the others."""


class Terms:
    """What an admission and a settlement rest on, whatever is in the body of the call.

    Args:
        target: what may serve; for a key that pays, only what has a known price.

    Attributes:
        held: what an admitted call is served by.
        likely_output_tokens: of one answer where its caller gives no cap, for the tokens a minute.
        longest_answer: the most tokens of one answer; None where that is not known of all who may serve.
        basis: what the record must hold should the process die.
    """

    __slots__ = (
        "basis",
        "bounds",
        "budget",
        "held",
        "likely_output_tokens",
        "longest_answer",
        "pays",
        "principal",
        "snapshot",
        "target",
    )

    def __init__(self, call: Call, target: Target, principal: Principal, snapshot: Snapshot) -> None:
        self.target = target
        self.principal = principal
        self.snapshot = snapshot
        self.pays = principal.pays
        self.held = Held(target, cap_of(target, principal))
        self.bounds = Bounds.of(principal.limits, snapshot.default_bounds)
        self.budget: Budget | None = None
        if principal.budget_nanousd is not None:
            self.budget = Budget(principal.budget_nanousd, principal.budget_period)
        self.likely_output_tokens = snapshot.settings.limits.assumed_output_tokens
        self.longest_answer = longest_answer(target)
        model = upstream = None
        for candidate in target.candidates:
            if candidate.skip is None:
                model, upstream = candidate.model, candidate.upstream
                break
        self.basis = _basis(
            call.route.name,
            principal.team,
            target.alias,
            target.release,
            model,
            upstream,
            call.stream,
            snapshot.prices.version,
        )


class KeptTerms:
    """Terms, made once for as long as key, target and configuration stay what they are."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str, bool], Terms] = {}
        self._snapshot: Snapshot | None = None

    def of(self, call: Call, target: Target, principal: Principal, snapshot: Snapshot) -> Terms:
        """The terms of a call."""
        place = (principal.key_id, target.name, call.route.name, call.stream)
        terms = self._kept.get(place)
        if (
            terms is not None
            and terms.principal is principal
            and terms.target is target
            and terms.snapshot is snapshot
        ):
            return terms
        if snapshot is not self._snapshot or len(self._kept) >= KEPT:
            self._kept.clear()  # nothing of a former configuration is held on to
            self._snapshot = snapshot
        terms = self._kept[place] = Terms(call, target, principal, snapshot)
        return terms


@lru_cache(maxsize=4096)  # one for many keys
def _basis(
    route: str,
    team: str | None,
    alias: str | None,
    release: str | None,
    model: str | None,
    upstream: str | None,
    stream: bool,
    price_version: str,
) -> bytes:
    return Basis(
        route=route,
        team=team,
        alias=alias,
        release=release,
        model=model,
        upstream=upstream,
        stream=stream,
        price_version=price_version,
    ).encode()
