from __future__ import annotations

from pathlib import Path

from gateway.pricing import docs
from gateway.pricing.own_rows import FINE_TUNED

PAGE = Path(__file__).parents[3] / "docs" / "prices.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == docs.render()


def test_it_has_every_row() -> None:
    text = docs.render()
    for row in FINE_TUNED:
        assert all(f"`{base}`" in text for base in row.bases)
        assert row.source in text
