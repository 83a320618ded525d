"""Prices by the kind of upstream, and those that an upstream states itself."""

from __future__ import annotations

import pytest

from gateway.pricing.book import PriceBook
from tests.unit.config.loading import loaded
from tests.unit.pricing.books import AT

UPSTREAMS = """
upstreams:
  openai: {base_url: "https://api.openai.com/v1", owns: [acme]}
  azure:
    kind: azure
    base_url: https://gateway.acme.example/eu
    deployments: {gpt-4o: dep-1, o4-mini: dep-2, support-az: dep-3}
    models: [gpt-4.1-mini-2025-04-14.ft-b044a9d3cf9c4228b5d393567f693b83]
  stated:
    base_url: https://relay.example/v1
    owns: [acme]
    price_multiplier: 2
    models: {support-v3: {set: {lora: [{id: 0, scale: 1.0}]}}, gpt-4o: null}
    prices:
      support-v3: {input: 0.05, output: 0.10}
      "ft:*": {input: 7, output: 8, service_tiers: {priority: {input: 9, output: 10}}}
  providers: {kind: litellm, models: ["*"]}
  claude: {kind: litellm, provider: anthropic, models: ["*"]}
prices:
  support-v3: {input: 1, output: 1}
  shared: {input: 3, output: 3}
"""
FT = "ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123"


@pytest.fixture
def book() -> PriceBook:
    return PriceBook(loaded(UPSTREAMS), clock=lambda: AT)


def dollars(book: PriceBook, upstream: str, model: str, tier: str | None = None) -> tuple[float | None, ...]:
    found = book.price(upstream, model, tier)
    assert found is not None
    return tuple(found.usd_per_million().values())


class TestStated:
    def test_what_an_upstream_states_beats_all_and_is_what_it_charges(self, book: PriceBook) -> None:
        assert dollars(book, "stated", "support-v3") == (0.05, 0.05, 0.10)
        assert dollars(book, "stated", FT) == (7, 7, 8)
        assert dollars(book, "stated", FT, "priority") == (9, 9, 10)
        assert book.price("stated", FT, "batch") is None

    def test_the_rest_goes_on_as_before(self, book: PriceBook) -> None:
        assert dollars(book, "stated", "shared") == (6, 6, 6)
        assert dollars(book, "stated", "gpt-4o") == (5, 2.5, 20)
        assert dollars(book, "openai", "shared") == (3, 3, 3)

    def test_records_tell_them_apart(self, book: PriceBook) -> None:
        other = PriceBook(loaded(UPSTREAMS.replace("output: 0.10", "output: 0.11")))
        assert book.version != other.version


class TestAzure:
    def test_its_list_holds_wherever_it_stands(self, book: PriceBook) -> None:
        assert dollars(book, "azure", "gpt-4o") == dollars(book, "openai", "gpt-4o")
        assert book.price("azure", "o4-mini") is not None

    @pytest.mark.parametrize(
        "model", ["support-az", "gpt-4.1-mini-2025-04-14.ft-b044a9d3cf9c4228b5d393567f693b83"]
    )
    def test_fine_tunes_are_unknown_until_stated(self, model: str) -> None:
        assert PriceBook(loaded(UPSTREAMS), clock=lambda: AT).price("azure", model) is None
        text = UPSTREAMS.replace(
            "dep-3}", f"dep-3}}\n    prices: {{'{model[:8]}*': {{input: 1, output: 2}}}}"
        )
        assert dollars(PriceBook(loaded(text), clock=lambda: AT), "azure", model) == (1, 1, 2)


class TestProviders:
    def test_each_id_by_the_list_of_the_provider_it_names(self, book: PriceBook) -> None:
        known = book.price("providers", "anthropic/claude-sonnet-4-5")
        assert known is not None
        assert known == book.price("claude", "claude-sonnet-4-5")
        assert book.price("providers", "gemini/gemini-2.5-pro") is not None
        assert dollars(book, "providers", "openai/gpt-4o") == dollars(book, "openai", "gpt-4o")

    @pytest.mark.parametrize("model", ["claude-sonnet-4-5", "nobody/claude-sonnet-4-5", "anthropic/nothing"])
    def test_what_names_none_is_unknown(self, book: PriceBook, model: str) -> None:
        assert book.price("providers", model) is None
