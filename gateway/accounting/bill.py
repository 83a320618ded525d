"""From what happened to the one ledger record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import msgspec

from gateway.accounting.terms import Terms
from gateway.domain.call import Call
from gateway.domain.facts import Facts, Tried, in_ms
from gateway.domain.usage import Usage
from gateway.limits.values import Settlement
from gateway.metering.record import (
    AttemptRecord,
    LedgerRecord,
    State,
    UsageSource,
    WrittenRecord,
    encoded,
    total_cost,
)
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


class Bill(msgspec.Struct, frozen=True):
    """What a call that has ended is settled by: its one ledger record, and what that adds to the counters.

    Args:
        figures, tail: as `SettlementForm.packed` takes them.
    """

    request_id: str
    state: State
    record: WrittenRecord
    figures: tuple[int, ...]
    tail: bytes
    terms: Terms

    def send(self, timeout_s: float) -> Awaitable[int]:
        """Send it to the store: the reply of `settle.lua`. Raises `StoreError`, also at once."""
        terms = self.terms
        packed = terms.settlement.packed(self.request_id, encoded(self.record), self.figures, self.tail)
        return terms.settle(packed, timeout_s)

    def settlement(self, *, was_reserved: bool = True) -> Settlement:
        """The same as a value of its own. `was_reserved` is False for a call admitted without the store."""
        terms, record = self.terms, LedgerRecord.decode(encoded(self.record))
        return record.settlement(
            admitted_ms=self.figures[0],
            tokens_actual=record.tokens,
            tpm=terms.bounds.tpm,
            has_credit=terms.principal.has_credit,
            was_reserved=was_reserved,
        )


def bill_of(facts: Facts, spent: Spent, terms: Terms, admitted_ms: int, now: float) -> Bill:
    """The bill of a call. Its cost is the sum of its attempts; what is unknown is None."""
    usage, state, source = spent
    tried, prices = facts.tried, terms.snapshot.prices
    attempts: tuple[AttemptRecord, ...]
    if usage is not None and len(tried) == 1:  # as nearly all have
        attempt = _record(tried[0], state, usage, facts, prices)
        attempts, cost_nanousd = (attempt,), attempt.cost_nanousd
    else:
        attempts = _attempts(facts, usage, state, prices)
        cost_nanousd = total_cost(attempts)
    used = _NO_USAGE if usage is None else usage
    prompt, completion, cached, reasoning = (
        used.prompt_tokens,
        used.completion_tokens,
        used.cached_tokens,
        used.reasoning_tokens,
    )
    kind = (facts.model, facts.upstream, state, source, facts.cache, facts.fallback, facts.error_type)
    alike, request_id, saved_nanousd = terms.alike(kind), facts.request_id, facts.saved_nanousd
    first_token_at, started_at = facts.first_token_at, facts.started_at
    record = WrittenRecord(  # by the order of its fields: names would cost as much again
        request_id,
        admitted_ms / 1000,
        alike.key,
        facts.upstream_request_id,
        alike.route,
        attempts,
        prompt,
        cached,
        used.cache_write_tokens,
        completion,
        reasoning,
        facts.service_tier,
        cost_nanousd,
        saved_nanousd,
        alike.price_version,
        None if first_token_at is None else in_ms(first_token_at - started_at),
        in_ms(now - started_at),
    )
    figures = (  # then the counters, in the order of `Counters`
        admitted_ms,
        prompt + completion,
        1,
        alike.errors,
        alike.hits,
        prompt,
        cached,
        completion,
        reasoning,
        cost_nanousd or 0,
        saved_nanousd,
        1 if cost_nanousd is None else 0,
    )
    return Bill(request_id, state, record, figures, alike.tail, terms)


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
