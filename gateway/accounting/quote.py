"""What a call may cost at most, and which targets a key that pays may use."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import msgspec

from gateway.catalog.rewrite import fields_for
from gateway.domain.call import Call
from gateway.domain.errors import PriceUnknown
from gateway.domain.plan import UNPRICED, Candidate, Reason, Target
from gateway.domain.principal import Principal
from gateway.limits.estimate import Size, size_of
from gateway.pricing.book import PriceBook
from gateway.pricing.cost import bound
from gateway.pricing.output_limits import max_output_tokens
from gateway.pricing.price import Price

UNKNOWN_MAX_TOKENS = 128_000
"""What a model is taken to answer with at most where nobody says: the largest that is common."""

MOST_IMAGE_TOKENS = 48_169
"""Of one image in high detail, at the model that counts them highest (gpt-4o-mini)."""


def payable(call: Call, target: Target, prices: PriceBook) -> Target:
    """The target without what has no known price: a budget cannot hold what nobody can name.

    Raises:
        PriceUnknown: nothing that may serve is left, for want of a price.
    """
    unpriced = [
        candidate
        for candidate in target.candidates
        if candidate.skip is None and _price(call, target, candidate, prices) is None
    ]
    if not unpriced:
        return target
    candidates = tuple(
        replace(candidate, skip=Reason.PRICE_UNKNOWN, detail=UNPRICED) if candidate in unpriced else candidate
        for candidate in target.candidates
    )
    if all(candidate.skip is not None for candidate in candidates):
        raise PriceUnknown(
            f"No target of `{target.name}` has a known price, and this key has a budget or credit."
            " The operator can state one under `prices`."
        )
    return replace(target, candidates=candidates)


def _price(call: Call, target: Target, candidate: Candidate, prices: PriceBook) -> Price | None:
    return prices.price(candidate.upstream, candidate.model, _tier(_as_sent(call, target, candidate)))


def cap_of(target: Target, principal: Principal) -> int | None:
    """The cap on output that holds where the caller names none: the alias's or the key's, the smaller."""
    of_alias, of_key = target.max_output_tokens, principal.max_output_tokens
    if of_alias is None or of_key is None:
        return of_key if of_alias is None else of_alias
    return min(of_alias, of_key)


def longest_answer(target: Target) -> int | None:
    """The most tokens that one answer has, whoever serves; None where that is not known of all who may."""
    return _longest_of(*[candidate.model for candidate in target.candidates if candidate.skip is None])


@lru_cache(maxsize=4096)
def _longest_of(*models: str) -> int | None:
    known = [max_output_tokens(model) for model in models]
    limits = [limit for limit in known if limit is not None]
    return max(limits, default=None) if len(limits) == len(known) else None


def most_prompt_tokens(call: Call, size: Size) -> int:
    """The most tokens that a prompt has; of images that the body only links to, the bytes are not in it."""
    messages = call.fields.get("messages")
    if messages is None:
        return size.most_prompt_tokens
    return size.most_prompt_tokens + bytes(messages).count(b'"image_url"') * MOST_IMAGE_TOKENS


def most_expensive(
    call: Call, size: Size, target: Target, principal: Principal, prices: PriceBook, prompt_tokens: int
) -> int:
    """The most nano-dollars that a call may cost, at the dearest target that may serve it.

    Args:
        size: what its body says of its size.
        prompt_tokens: the most that its prompt may have.
    """
    cap = cap_of(target, principal)
    most = 0
    for candidate in target.candidates:
        if candidate.skip is not None:
            continue
        sent = _as_sent(call, target, candidate)
        price = prices.price(candidate.upstream, candidate.model, _tier(sent))
        if price is None:
            continue
        asked = size if sent is call else size_of(sent)
        output = asked.most_output_tokens(cap, max_output_tokens(candidate.model))
        if output is None:
            output = asked.answers * UNKNOWN_MAX_TOKENS
        prompt = prompt_tokens if sent is call else prompt_tokens + _most_added(call, target, candidate)
        most = max(most, bound(price, prompt, output) or 0)
    return most


def _as_sent(call: Call, target: Target, candidate: Candidate) -> Call:
    """The call as its candidate will see it: the operator's fields count like the caller's own."""
    if not target.defaults and candidate.rewrite is None:
        return call
    return msgspec.structs.replace(call, fields=fields_for(call, target, candidate))


def _most_added(call: Call, target: Target, candidate: Candidate) -> int:
    """The most tokens that the operator's fields add to the prompt."""
    added = sum(len(value) for name, value in target.defaults if name not in call.fields)
    rewrite = candidate.rewrite
    if rewrite is not None:
        added += sum(len(value) for _, value in rewrite.set) + len(rewrite.system_message or b"")
    return added


def _tier(call: Call) -> str | None:
    """The service tier that is asked for: a dearer one costs more."""
    raw = call.fields.get("service_tier")
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str | None)
    except msgspec.ValidationError:
        return None
