from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.pricing.own_rows import CHECKED, FINE_TUNED, FREE, fine_tuned_price, free_price
from tests.unit.pricing.books import AT, book

PUBLISHED = {
    "gpt-4.1-2025-04-14": ("3.00", "0.75", "12.00"),
    "gpt-4.1-mini-2025-04-14": ("0.80", "0.20", "3.20"),
    "gpt-4.1-nano-2025-04-14": ("0.20", "0.05", "0.80"),
    "gpt-4o-2024-08-06": ("3.75", "1.875", "15.00"),
    "gpt-4o-2024-11-20": ("3.75", "1.875", "15.00"),
    "gpt-4o-mini-2024-07-18": ("0.30", "0.15", "1.20"),
    "o4-mini-2025-04-16": ("4.00", "1.00", "16.00"),
}
"""What the price file that most gateways share has for the bases that can still be tuned or were in 2026."""


@pytest.mark.parametrize("base", PUBLISHED)
def test_the_bases_cost_what_is_published(base: str) -> None:
    found = fine_tuned_price(base, "default")
    assert found is not None
    names = ("input", "cached_input", "output")
    assert tuple(found.usd[name] for name in names) == tuple(map(Decimal, PUBLISHED[base]))


@pytest.mark.parametrize("base", [base for row in FINE_TUNED for base in row.bases])
def test_a_fine_tune_never_costs_less_than_its_base(base: str) -> None:
    tuned, plain = book().price("openai", f"ft:{base}:acme::x", at=AT), book().price("openai", base, at=AT)
    assert tuned is not None
    if plain is not None and plain.rates.output is not None and tuned.rates.output is not None:
        assert tuned.rates.input >= plain.rates.input
        assert tuned.rates.cached_input >= plain.rates.cached_input
        assert tuned.rates.output >= plain.rates.output


@pytest.mark.parametrize("row", [row for row in FINE_TUNED if row.batch], ids=lambda row: row.bases[0])
def test_a_batch_costs_less(row) -> None:
    for standard, batch in zip(row.standard, row.batch, strict=True):
        assert (standard is None) == (batch is None)
        assert standard is None or Decimal(batch) < Decimal(standard)


def test_there_are_no_other_tiers() -> None:
    assert fine_tuned_price("gpt-4o-2024-08-06", "priority") is None
    assert fine_tuned_price("gpt-4o-2024-11-20", "batch") is None
    assert fine_tuned_price("gpt-9", "default") is None


def test_no_base_stands_twice_and_every_row_has_a_source() -> None:
    bases = [base for row in FINE_TUNED for base in row.bases]
    assert len(set(bases)) == len(bases)
    assert all(row.source for row in FINE_TUNED)
    assert len(CHECKED) == len("2026-11-23")


def test_what_is_free_is_known_to_be() -> None:
    for model in FREE:
        found = book().price("openai", model, at=AT)
        assert found is not None
        assert found.rates.input == found.rates.output == 0
    assert free_price("gpt-4o") is None
