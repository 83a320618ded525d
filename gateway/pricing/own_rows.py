"""Our own prices, as data: every base of fine-tuned models, and models that cost nothing.

A fine-tune costs 1.5 to 6 times what its base costs, so the price of a base never stands in for one that is
missing here. USD per million tokens. Change a row together with its source and `CHECKED`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from gateway.pricing.price import ListPrice, UsdRates

CHECKED = "2026-11-23"
"""The day the rows were last held against their sources."""


@dataclass(frozen=True, slots=True)
class FineTunedRow:
    """The price of inference on the fine-tunes of one base.

    Args:
        bases: as they stand in `ft:{base}:...`.
        standard: input, cached input (None: as input) and output.
        batch: the same for the Batch API; None where no price is known. There are no other tiers.
        source: where the figures are from.
        note: what is odd about them.
    """

    bases: tuple[str, ...]
    standard: tuple[str, str | None, str]
    batch: tuple[str, str | None, str] | None
    source: str
    note: str = ""

    def rates(self, tier: str) -> UsdRates | None:
        """USD per million tokens at a service tier; None where unknown."""
        listed = {"default": self.standard, "batch": self.batch}.get(tier)
        if listed is None:
            return None
        names = ("input", "cached_input", "output")
        return {name: None if usd is None else Decimal(usd) for name, usd in zip(names, listed, strict=True)}


_LITELLM = "price file of LiteLLM 1.109.1"
_BOTH = "price file of LiteLLM 1.109.1; genai-prices 0.2.3"

FINE_TUNED = (
    FineTunedRow(
        ("gpt-4.1-2025-04-14", "gpt-4.1"),
        ("3.00", "0.75", "12.00"),
        ("1.50", "0.50", "6.00"),
        _LITELLM,
        "cached tokens of a batch are not half of the standard price",
    ),
    FineTunedRow(
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("0.80", "0.20", "3.20"),
        ("0.40", "0.10", "1.60"),
        _LITELLM,
    ),
    FineTunedRow(
        ("gpt-4.1-nano-2025-04-14", "gpt-4.1-nano"),
        ("0.20", "0.05", "0.80"),
        ("0.10", "0.025", "0.40"),
        _LITELLM,
    ),
    FineTunedRow(
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("3.75", "1.875", "15.00"),
        ("2.225", "0.90", "12.50"),
        _BOTH,
        "a batch is listed at more than half of the standard price",
    ),
    FineTunedRow(
        ("gpt-4o-2024-11-20",),
        ("3.75", "1.875", "15.00"),
        None,
        _BOTH,
        "the source has the cached price in another column; it is that of gpt-4o-2024-08-06",
    ),
    FineTunedRow(
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("0.30", "0.15", "1.20"),
        ("0.15", "0.075", "0.60"),
        _BOTH,
    ),
    FineTunedRow(
        ("o4-mini-2025-04-16", "o4-mini"),
        ("4.00", "1.00", "16.00"),
        ("2.00", "0.50", "8.00"),
        _LITELLM,
    ),
    FineTunedRow(
        ("gpt-3.5-turbo", "gpt-3.5-turbo-0125", "gpt-3.5-turbo-1106", "gpt-3.5-turbo-0613"),
        ("3.00", None, "6.00"),
        ("1.50", None, "3.00"),
        _BOTH,
    ),
    FineTunedRow(("gpt-4-0613", "gpt-4"), ("30.00", None, "60.00"), None, _LITELLM),
    FineTunedRow(
        ("davinci-002",),
        ("12.00", None, "12.00"),
        ("6.00", None, "6.00"),
        _LITELLM,
    ),
    FineTunedRow(
        ("babbage-002",),
        ("1.60", None, "1.60"),
        ("0.80", None, "0.90"),
        _LITELLM,
        "output of a batch is not half of the standard price",
    ),
)

FREE = (
    "omni-moderation-latest",
    "omni-moderation-2024-09-26",
    "text-moderation-latest",
    "text-moderation-stable",
    "text-moderation-007",
)
"""Moderation is free of charge at the official API (its moderation guide)."""

_ROWS = {base: row for row in FINE_TUNED for base in row.bases}


def fine_tuned_price(base: str, tier: str) -> ListPrice | None:
    """What the fine-tunes of a base cost, or None where no row says so: the base's own price is another."""
    row = _ROWS.get(base)
    rates = row.rates(tier) if row is not None else None
    return None if rates is None else ListPrice(rates, source="fine-tuned")


def free_price(model: str) -> ListPrice | None:
    """Nothing, for models that are known to cost nothing."""
    return ListPrice({"input": Decimal(0), "output": Decimal(0)}, source="free") if model in FREE else None
