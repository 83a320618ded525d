"""What a call may cost at most, and which targets a key that pays may use."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from gateway.domain.call import Call
from gateway.domain.errors import PriceUnknown
from gateway.domain.plan import Reason, Target
from gateway.domain.principal import Principal
from gateway.limits.estimate import Size
from gateway.pricing.book import PriceBook
from gateway.pricing.cost import bound
from gateway.pricing.output_limits import max_output_tokens

UNKNOWN_MAX_TOKENS = 128_000
"""What a model is taken to answer with at most where nobody says: the largest that is common."""


def payable(call: Call, target: Target, prices: PriceBook) -> Target:
    """The target without what has no known price: a budget cannot hold what nobody can name.

    Raises:
        PriceUnknown: nothing that may serve is left, for want of a price.
    """
    tier = _tier(call)
    candidates = tuple(
        replace(candidate, skip=Reason.PRICE_UNKNOWN, detail="its price is unknown, and the key has a budget")
        if candidate.skip is None and prices.price(candidate.upstream, candidate.model, tier) is None
        else candidate
        for candidate in target.candidates
    )
    if candidates == target.candidates:
        return target
    if all(candidate.skip is not None for candidate in candidates):
        raise PriceUnknown(
            f"No target of `{target.name}` has a known price, and this key has a budget or credit."
            " The operator can state one under `prices`."
        )
    return replace(target, candidates=candidates)


def cap_of(target: Target, principal: Principal) -> int | None:
    """The cap on output that holds where the caller names none: the alias's or the key's, the smaller."""
    caps = [cap for cap in (target.max_output_tokens, principal.max_output_tokens) if cap is not None]
    return min(caps, default=None)


def most_expensive(
    call: Call, size: Size, target: Target, principal: Principal, prices: PriceBook, prompt_tokens: int
) -> int:
    """The most nano-dollars that a call may cost, at the dearest target that may serve it.

    Args:
        size: what its body says of its size.
        prompt_tokens: the most that its prompt may have.
    """
    cap = cap_of(target, principal)
    tier = _tier(call)
    most = 0
    for candidate in target.candidates:
        price = None if candidate.skip else prices.price(candidate.upstream, candidate.model, tier)
        if price is None:
            continue
        extra = len(candidate.rewrite.system_message or b"") if candidate.rewrite else 0
        output = size.most_output_tokens(cap, max_output_tokens(candidate.model))
        if output is None:
            output = size.answers * UNKNOWN_MAX_TOKENS
        most = max(most, bound(price, prompt_tokens + extra, output) or 0)
    return most


def _tier(call: Call) -> str | None:
    """The service tier that the caller asks for: a dearer one costs more."""
    raw = call.fields.get("service_tier")
    try:
        return None if raw is None else msgspec.json.decode(raw, type=str | None)
    except msgspec.ValidationError:
        return None
