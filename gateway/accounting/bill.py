"""From what happened to the one ledger record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from gateway.accounting.terms import Terms
from gateway.domain.call import Call
from gateway.domain.facts import Facts, Tried, in_ms
from gateway.domain.usage import Usage
from gateway.metering.record import AttemptRecord, LedgerRecord, State, UsageSource, total_cost
from gateway.metering.tokenizer import count_prompt, count_text
from gateway.pricing.book import PriceBook
from gateway.pricing.cost import cost

Spent = tuple[Usage | None, State, UsageSource]
"""What a call used, and how that is known; no usage where it is released, and used nothing."""

NOTHING: Spent = (None, "released", "none")
"""Admitted, and nothing was spent."""

_NO_USAGE = Usage()

FREE: Spent = (_NO_USAGE, "exact", "none")
"""Served, and nothing was spent: from the cache, or along with another call."""


async def estimate(call: Call, model: str, usage: Usage | None, text: str) -> Spent:
    """What a call used of which the answer is not complete, or came without usage.

    Args:
        usage: as the upstream reported it, if it did.
        text: what the model wrote.

    It is counted off the loop, and is never below what the upstream reported so far.
    """
    counted = await asyncio.to_thread(_count, call, model, text)
    if usage is None:
        return counted, "estimated", "tokenizer"
    completion = max(usage.completion_tokens, counted.completion_tokens)
    return msgspec.structs.replace(usage, completion_tokens=completion), "estimated", "tokenizer"


def _count(call: Call, model: str, text: str) -> Usage:
    return Usage(count_prompt(call.fields, model), count_text(text, model) if text else 0)


def record_of(facts: Facts, spent: Spent, terms: Terms, admitted_ms: int, now: float) -> LedgerRecord:
    """The ledger record of a call. Its cost is the sum of its attempts; what is unknown is None."""
    usage, state, source = spent
    tried, prices = facts.tried, terms.snapshot.prices
    attempts: tuple[AttemptRecord, ...]
    if usage is not None and len(tried) == 1:  # as nearly all have
        attempt = _record(tried[0], state, usage, facts, prices)
        attempts, cost_nanousd = (attempt,), attempt.cost_nanousd
    else:
        attempts = _attempts(facts, usage, state, prices)
        cost_nanousd = total_cost(attempts)
    used = usage or _NO_USAGE
    first_token_at, started_at = facts.first_token_at, facts.started_at
    return msgspec.structs.replace(
        terms.record,
        request_id=facts.request_id,
        ts=admitted_ms / 1000,
        model=facts.model,
        upstream=facts.upstream,
        upstream_request_id=facts.upstream_request_id,
        state=state,
        cache=facts.cache,
        fallback=facts.fallback,
        attempts=attempts,
        prompt_tokens=used.prompt_tokens,
        cached_tokens=used.cached_tokens,
        cache_write_tokens=used.cache_write_tokens,
        completion_tokens=used.completion_tokens,
        reasoning_tokens=used.reasoning_tokens,
        service_tier=facts.service_tier,
        cost_nanousd=cost_nanousd,
        saved_nanousd=facts.saved_nanousd,
        usage_source=source,
        error_type=facts.error_type,
        ttft_ms=None if first_token_at is None else in_ms(first_token_at - started_at),
        duration_ms=in_ms(now - started_at),
    )


def _attempts(
    facts: Facts, usage: Usage | None, state: State, prices: PriceBook
) -> tuple[AttemptRecord, ...]:
    """Every attempt. What was spent stands on the one that served or was cut off; the others cost nothing.

    One that another overtook had its prompt read, so that much is charged; what it wrote nobody knows.
    """
    tried = facts.tried
    if usage is None:
        return tuple(_record(each, "released", None, facts, prices) for each in tried)
    serving = _serving(tried)
    prompt = msgspec.structs.replace(usage, completion_tokens=0, reasoning_tokens=0)
    return tuple(
        _record(each, state, usage, facts, prices)
        if each is serving
        else _record(each, "estimated", prompt, facts, prices)
        if each.outcome == "hedged"
        else _record(each, "released", None, facts, prices)
        for each in tried
    )


def _serving(tried: Sequence[Tried]) -> Tried | None:
    """The attempt that committed, else the last one."""
    committed = (each for each in tried if each.outcome == "committed")
    return next(committed, tried[-1] if tried else None)


def _record(
    tried: Tried, state: State, usage: Usage | None, facts: Facts, prices: PriceBook
) -> AttemptRecord:
    if usage is None:
        return AttemptRecord(tried.upstream, tried.model, tried.outcome)
    upstream, model = tried.upstream, tried.model
    price = prices.price(upstream, model, facts.service_tier)
    charged = None if price is None else cost(usage, price)
    return AttemptRecord(
        upstream, model, tried.outcome, state, usage.prompt_tokens, usage.completion_tokens, charged
    )
