"""What tokens cost: as lists have it, in dollars, and as the gateway reckons with it, in whole numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Self

UsdRates = Mapping[str, Decimal | None]
"""USD per million tokens, by the names of `Rates`; what is absent or None is not stated."""

_NANO = 10**9


@dataclass(frozen=True, slots=True)
class ListPrice:
    """A price as some list has it.

    Args:
        longer: rates that replace `usd` for the whole call where the prompt has more than so many tokens.
        source: where it was found.
    """

    usd: UsdRates
    source: str
    longer: tuple[tuple[int, UsdRates], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Nano-USD per million tokens of each kind; None where the price of a kind is unknown.

    `cached_input`, `cache_write` and the audio ones are for parts of the prompt, `reasoning` and
    `audio_output` for parts of the completion; `input` and `output` are for the rest of them.
    """

    input: int
    output: int | None
    cached_input: int
    cache_write: int
    reasoning: int | None
    audio_input: int | None = None
    audio_cached_input: int | None = None
    audio_output: int | None = None

    @cached_property
    def dearest_input(self) -> int:
        """Of the kinds that a token of the prompt may be."""
        audio = max(self.audio_input or 0, self.audio_cached_input or 0)
        return max(self.input, self.cached_input, self.cache_write, audio)

    @cached_property
    def dearest_output(self) -> int:
        """Of the kinds that a token of the completion may be; 0 where none is known."""
        return max(self.output or 0, self.reasoning or 0, self.audio_output or 0)


@dataclass(frozen=True, slots=True)
class Price:
    """What the tokens of one model cost at one upstream.

    Args:
        longer: rates for longer prompts, as `(tokens, rates)` with the fewest tokens first: they hold for the
            whole call where the prompt has more than so many.
        source: of the list price: "config", "fine-tuned", "free" or "genai-prices".
        version: of the book it stands in, for the ledger.
    """

    rates: Rates
    longer: tuple[tuple[int, Rates], ...] = ()
    source: str = ""
    version: str = ""

    @classmethod
    def of(cls, listed: ListPrice, factor: Decimal = Decimal(1), version: str = "") -> Self:
        """A list price times an upstream's factor, each rate rounded half up to a nano-dollar a million.

        Cached tokens, cache writes and reasoning cost as much as others where no price of theirs is stated.
        """
        return cls(
            rates=_rates(listed.usd, factor),
            longer=tuple((tokens, _rates(usd, factor)) for tokens, usd in listed.longer),
            source=listed.source,
            version=version,
        )

    def rates_for(self, prompt_tokens: int) -> Rates:
        """The rates of a call whose prompt has so many tokens, cached ones included."""
        found = self.rates
        for tokens, rates in self.longer:
            if prompt_tokens > tokens:
                found = rates
        return found

    def usd_per_million(self) -> dict[str, float | None]:
        """`input`, `cached_input` and `output` in US dollars, to be shown."""
        rates = self.rates
        shown = {"input": rates.input, "cached_input": rates.cached_input, "output": rates.output}
        return {name: None if rate is None else rate / _NANO for name, rate in shown.items()}


def _rates(usd: UsdRates, factor: Decimal) -> Rates:
    nano = {name: _nano(rate, factor) for name, rate in usd.items() if rate is not None}
    audio = nano.get("audio_input")
    return Rates(
        input=nano["input"],
        output=nano.get("output"),
        cached_input=nano.get("cached_input", nano["input"]),
        cache_write=nano.get("cache_write", nano["input"]),
        reasoning=nano.get("reasoning", nano.get("output")),
        audio_input=audio,
        audio_cached_input=nano.get("audio_cached_input", audio),
        audio_output=nano.get("audio_output"),
    )


def _nano(usd: Decimal, factor: Decimal) -> int:
    return math.floor(Fraction(usd) * Fraction(factor) * _NANO + Fraction(1, 2))
