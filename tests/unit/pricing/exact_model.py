"""Pricing once more, by other means: fractions of a dollar, and token ranges laid over each other.

A prompt is a line of tokens: first the fresh ones, then those written to the cache, then the cached ones.
Audio covers the line from the end of the fresh ones backwards, then the cached ones from their beginning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction

from gateway.domain.usage import Usage

Listed = Mapping[str, str | None]
"""USD per million tokens, as text."""

_EXACT = Context(prec=120)


def rate(listed: Listed, factor: str, *names: str) -> Fraction | None:
    """The first stated rate of `names` in nano-dollars a token, of a whole number a million."""
    for name in names:
        stated = listed.get(name)
        if stated is not None:
            nano = _EXACT.multiply(_EXACT.multiply(Decimal(stated), Decimal(factor)), Decimal(10**9))
            return Fraction(int(nano.quantize(Decimal(1), ROUND_HALF_UP, _EXACT))) / 10**6
    return None


def overlap(one: range, other: range) -> int:
    return max(0, min(one.stop, other.stop) - max(one.start, other.start))


def expected_cost(
    usage: Usage, listed: Listed, factor: str = "1", longer: Sequence[tuple[int, Listed]] = ()
) -> int | None:
    """Nano-dollars, or None where a kind of token was used that nobody states a price of."""
    for tokens, rates in longer:
        listed = rates if usage.prompt_tokens > tokens else listed
    whole = usage.prompt_tokens
    cached = range(whole - min(whole, usage.cached_tokens), whole)
    written = range(cached.start - min(cached.start, usage.cache_write_tokens), cached.start)
    fresh = range(written.start)
    heard = range(max(0, fresh.stop - usage.audio_prompt_tokens), fresh.stop)
    heard_again = usage.audio_prompt_tokens - len(heard)
    cached_audio = range(cached.start, min(cached.stop, cached.start + heard_again))
    said = range(min(usage.audio_completion_tokens, usage.completion_tokens))
    thought = range(said.stop, min(said.stop + usage.reasoning_tokens, usage.completion_tokens))
    kinds = [
        (len(fresh) - overlap(fresh, heard), rate(listed, factor, "input")),
        (overlap(fresh, heard), rate(listed, factor, "audio_input")),
        (len(written), rate(listed, factor, "cache_write", "input")),
        (len(cached) - overlap(cached, cached_audio), rate(listed, factor, "cached_input", "input")),
        (overlap(cached, cached_audio), rate(listed, factor, "audio_cached_input", "audio_input")),
        (len(said), rate(listed, factor, "audio_output")),
        (len(thought), rate(listed, factor, "reasoning", "output")),
        (usage.completion_tokens - len(said) - len(thought), rate(listed, factor, "output")),
    ]
    total = Fraction(0)
    for tokens, price in kinds:
        if tokens and price is None:
            return None
        total += tokens * (price or 0)
    whole_nano, rest = divmod(total, 1)
    return int(whole_nano) + (rest >= Fraction(1, 2))
