"""From token counts to money, in whole nano-dollars. Pure arithmetic on integers."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.domain.usage import Usage
from gateway.pricing.price import Price, Rates

_MILLION = 1_000_000

_Parts = tuple[tuple[int, int | None], ...]
"""Tokens of each kind, and what they cost; None where that is unknown."""


def cost(usage: Usage, price: Price) -> int | None:
    """Price one completion in nano-dollars, rounded half up once, at the end.

    `prompt_tokens` includes cached and cache-write tokens, `completion_tokens` reasoning ones, and either its
    audio (OpenAI API reference, usage), so the parts are subtracted. Parts that do not fit are cut. Audio of
    a prompt counts as fresh as long as fresh tokens last, since the usage does not tell how it was cached.

    Returns:
        None where a kind of token was used whose price is unknown.
    """
    rates = price.rates_for(usage.prompt_tokens) if price.longer else price.rates
    if (
        usage.cached_tokens
        or usage.reasoning_tokens
        or usage.cache_write_tokens
        or usage.audio_prompt_tokens
        or usage.audio_completion_tokens
    ):
        total = _total((*_prompt(usage, rates), *_completion(usage, rates)))
    elif rates.output is not None:
        total = usage.prompt_tokens * rates.input + usage.completion_tokens * rates.output
    else:
        total = None if usage.completion_tokens else usage.prompt_tokens * rates.input
    return None if total is None else (total + _MILLION // 2) // _MILLION


def bound(price: Price, prompt_tokens: int, output_tokens: int) -> int | None:
    """The most nano-dollars that a call of at most so many tokens can cost, rounded up.

    Every token counts as the dearest kind it may be: a cache write, audio. None where the price of output is
    unknown and some may come.
    """
    applying = [price.rates]
    if price.longer:
        applying += [rates for tokens, rates in price.longer if prompt_tokens > tokens]
    most = 0
    for rates in applying:
        if output_tokens and rates.output is None:
            return None
        most = max(most, prompt_tokens * rates.dearest_input + output_tokens * rates.dearest_output)
    return -(-most // _MILLION)


def dearest(prices: Iterable[Price | None], prompt_tokens: int, output_tokens: int) -> int | None:
    """The largest `bound` among the prices that may apply; unknown ones are passed over.

    None where none is known: such a call has no bound.
    """
    bounds = [bound(price, prompt_tokens, output_tokens) for price in prices if price is not None]
    return max((each for each in bounds if each is not None), default=None)


def _total(parts: _Parts) -> int | None:
    total = 0
    for tokens, rate in parts:
        if tokens:
            if rate is None:
                return None
            total += tokens * rate
    return total


def _prompt(usage: Usage, rates: Rates) -> _Parts:
    prompt = usage.prompt_tokens
    cached = min(usage.cached_tokens, prompt)
    written = min(usage.cache_write_tokens, prompt - cached)
    fresh = prompt - cached - written
    audio = min(usage.audio_prompt_tokens, fresh)
    audio_cached = min(usage.audio_prompt_tokens - audio, cached)
    return (
        (fresh - audio, rates.input),
        (audio, rates.audio_input),
        (cached - audio_cached, rates.cached_input),
        (audio_cached, rates.audio_cached_input),
        (written, rates.cache_write),
    )


def _completion(usage: Usage, rates: Rates) -> _Parts:
    completion = usage.completion_tokens
    audio = min(usage.audio_completion_tokens, completion)
    reasoning = min(usage.reasoning_tokens, completion - audio)
    return (
        (completion - audio - reasoning, rates.output),
        (reasoning, rates.reasoning),
        (audio, rates.audio_output),
    )
