"""The planner's decision, rendered for people: what would happen to a call now, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.catalog.catalogue import Catalogue
from gateway.domain.plan import UNPRICED, Candidate, Reason
from gateway.domain.principal import Principal
from gateway.routing.health import Health
from gateway.routing.planner import plan

if TYPE_CHECKING:
    from gateway.pricing.book import PriceBook


def explain(
    catalogue: Catalogue,
    name: str,
    principal: Principal,
    health: Health,
    now: float,
    prices: PriceBook,
    draw: float = 0.0,
) -> dict[str, Any]:
    """The object of `GET /admin/v1/explain`: exactly what the planner would do for `principal` now.

    Args:
        catalogue: the snapshot in force.
        name: an alias or a model id.
        principal: whose call it would be.
        health: what is known of upstreams.
        now: monotonic seconds.
        prices: under the configuration in force; shown are those of the default service tier.
        draw: in [0, 1), decides where weights do.

    Raises:
        ModelNotFound: nothing has this name.
        ModelNotAllowed: this key may not use it.
    """
    target = catalogue.resolve(name, principal)
    candidates = target.candidates
    if principal.pays:
        candidates = tuple(_payable(candidate, prices) for candidate in candidates)
    decision = plan(candidates, health, now, draw)
    return {
        "object": "explain",
        "requested": name,
        "alias": target.alias,
        "release": target.release,
        "attempts": [
            {
                "n": number,
                "upstream": attempt.candidate.upstream,
                "model": attempt.candidate.model,
                "rewrite": attempt.candidate.rewrite.name if attempt.candidate.rewrite else None,
                "price_usd_per_million": _dollars(prices, attempt.candidate),
                "shutdown_date": attempt.candidate.shutdown_date,
            }
            for number, attempt in enumerate(decision.attempts, start=1)
        ],
        "left_out": [
            {
                "upstream": left.candidate.upstream,
                "model": left.candidate.model,
                "reason": left.reason.value,
                "detail": left.detail,
            }
            for left in decision.left_out
        ],
    }


def _payable(candidate: Candidate, prices: PriceBook) -> Candidate:
    if candidate.skip is not None or prices.price(candidate.upstream, candidate.model) is not None:
        return candidate
    return replace(candidate, skip=Reason.PRICE_UNKNOWN, detail=UNPRICED)


def _dollars(prices: PriceBook, candidate: Candidate) -> dict[str, float | None] | None:
    price = prices.price(candidate.upstream, candidate.model)
    return None if price is None else price.usd_per_million()
