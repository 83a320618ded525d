"""Which price counts, by upstream, model, tier and configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.models import Settings
from gateway.domain.usage import Usage
from gateway.pricing.book import PriceBook
from gateway.pricing.cost import cost
from gateway.pricing.own_rows import FINE_TUNED
from gateway.pricing.price import Price
from tests.unit.config.loading import loaded
from tests.unit.pricing.books import AT, UPSTREAMS, book
from tests.unit.pricing.exact_model import expected_cost
from tests.unit.pricing.test_own_rows import PUBLISHED

MINI = "ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123"


def dollars(price: Price | None) -> tuple[float | None, ...] | None:
    return None if price is None else tuple(price.usd_per_million().values())


class TestFineTunes:
    @pytest.mark.parametrize("upstream", ["openai", "europe", "own", "demo"])
    @pytest.mark.parametrize("model", [MINI, f"{MINI}:ckpt-step-2000", "ft:gpt-4.1-mini:acme:name"])
    def test_they_cost_what_the_row_of_their_base_says(self, upstream: str, model: str) -> None:
        assert dollars(book().price(upstream, model)) == (0.80, 0.20, 3.20)

    @pytest.mark.parametrize(
        "model",
        [
            "ft:gpt-5:acme::x",
            "ft:gpt-6-luna:acme::x",
            "ft:gpt-4.1-2025-04-15:acme::x",
            "ft:gpt-4-0125-preview:acme::x",  # genai-prices would take it for gpt-4
            "ft:gpt-4o-2024-12-01:acme::x",  # and this for a fine-tune that it knows
            "ft::acme::x",
            "ft:",
            "FT:gpt-4o-mini-2024-07-18:acme::x",
            "FT:gpt-4-01234",  # genai-prices would take it for gpt-4
            "davinci:ft-personal-2023-05-23-20-00-00",
            "gpt-4.1-mini-2025-04-14.ft-b044a9d3cf9c4228b5d393567f693b83",
            "gpt-4o-mini-2024-07-18.ft-short",
        ],
    )
    @pytest.mark.parametrize("upstream", ["openai", "relay", "own", "demo", "azure", "router"])
    def test_without_a_row_they_are_unknown(self, upstream: str, model: str) -> None:
        assert book().price(upstream, model) is None

    def test_a_row_holds_at_no_provider_with_prices_of_its_own(self) -> None:
        assert book().price("azure", MINI) is None
        assert book().price("router", MINI) is None

    @pytest.mark.parametrize("base", ["gpt-4.1-mini-2025-04-14", "gpt-4o-2024-08-06", "o4-mini-2025-04-16"])
    def test_they_are_dearer_than_their_base(self, base: str) -> None:
        tuned, plain = book().price("openai", f"ft:{base}:acme::x"), book().price("openai", base)
        assert tuned is not None
        assert plain is not None
        assert 1.4 < tuned.rates.input / plain.rates.input < 3.7

    def test_tiers(self) -> None:
        assert dollars(book().price("openai", MINI, "batch")) == (0.40, 0.10, 1.60)
        for tier in ("priority", "fast", "flex", "scale"):
            assert book().price("openai", MINI, tier) is None


class TestBaseModels:
    @pytest.mark.parametrize("tier", [None, "", "auto", "default", "standard", "on_demand"])
    def test_the_default_tier_has_many_names(self, tier: str | None) -> None:
        assert dollars(book().price("openai", "gpt-6-luna", tier)) == (0.10, 0.01, 0.50)

    def test_fast_is_priority(self) -> None:
        fast = book().price("openai", "gpt-6-luna", "fast")
        assert fast == book().price("openai", "gpt-6-luna", "priority")
        assert dollars(fast) == (0.20, 0.02, 1.00)

    def test_a_tier_that_nobody_knows_has_no_price(self) -> None:
        assert book().price("openai", "gpt-6-luna", "scale") is None
        assert book().price("openai", "gpt-6-luna", "Default") is None

    def test_a_relay_sells_with_a_margin(self) -> None:
        assert dollars(book().price("relay", "gpt-4o")) == (2.875, 1.4375, 11.5)
        assert dollars(book().price("relay", MINI)) == (0.92, 0.23, 3.68)

    def test_a_factor_of_nothing_is_known_to_cost_nothing(self) -> None:
        assert dollars(book().price("free", "gpt-4o")) == (0, 0, 0)
        assert book().price("free", "support-v3") is None

    def test_each_upstream_by_the_list_of_its_provider(self) -> None:
        assert book().price("router", "openai/gpt-4o") is not None
        assert book().price("openai", "openai/gpt-4o") is None

    def test_what_nobody_knows_is_unknown(self) -> None:
        assert book().price("openai", "support-v3") is None
        assert book().price("no-such-upstream", "gpt-4o") is None

    def test_a_model_chosen_by_fields_of_the_body_is_unknown_whatever_its_name(self) -> None:
        text = UPSTREAMS.replace("support-v3:", "gpt-4o-mini:")
        assert PriceBook(loaded(text)).price("own", "gpt-4o-mini") is None
        assert PriceBook(loaded(text)).price("openai", "gpt-4o-mini") is not None
        assert book().price("own", "gpt-4o") is not None


class TestConfigured:
    PRICES = """
prices:
  "ft:gpt-4.1-mini-*": {input: 9, output: 9}
  "ft:gpt-4.1-mini-2025-04-14:acme:*": {input: 8, output: 8}
  "ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123": {input: 0.7, cached_input: 0.1, output: 3}
  support-v3: {input: 0.05, output: 0.10, service_tiers: {priority: {input: 0.06, output: 0.12}}}
"""

    def test_an_id_beats_globs_and_globs_come_in_the_order_of_the_file(self) -> None:
        prices = book(self.PRICES)
        assert dollars(prices.price("openai", MINI)) == (0.7, 0.1, 3)
        assert dollars(prices.price("openai", MINI + "x")) == (9, 9, 9)
        assert dollars(prices.price("openai", "ft:gpt-4.1-2025-04-14:acme::x")) == (3, 0.75, 12)

    def test_they_hold_at_every_upstream_times_its_factor(self) -> None:
        prices = book(self.PRICES)
        assert dollars(prices.price("azure", MINI)) == (0.7, 0.1, 3)
        assert dollars(prices.price("relay", MINI)) == (0.805, 0.115, 3.45)
        assert dollars(prices.price("own", "support-v3")) == (0.05, 0.05, 0.10)

    def test_tiers_are_those_that_are_configured(self) -> None:
        prices = book(self.PRICES)
        assert dollars(prices.price("own", "support-v3", "fast")) == (0.06, 0.06, 0.12)
        assert prices.price("own", "support-v3", "batch") is None
        assert prices.price("openai", MINI, "batch") is None  # not the row that it replaces

    def test_audio_and_reasoning(self) -> None:
        prices = book("\nprices: {m: {input: 1, output: 2, reasoning: 3, audio_input: 4, audio_output: 5}}")
        found = prices.price("own", "m")
        assert found is not None
        assert (found.rates.reasoning, found.rates.audio_input, found.rates.audio_output) == (
            3 * 10**9,
            4 * 10**9,
            5 * 10**9,
        )
        assert found.source == "config"


class TestVersion:
    def test_it_names_the_data(self) -> None:
        plain = PriceBook(Settings())
        assert plain.version.startswith("genai-prices-")
        assert "+own-20" in plain.version
        assert "config" not in plain.version

    def test_it_changes_with_what_the_configuration_says_of_prices(self) -> None:
        texts = [
            UPSTREAMS,
            UPSTREAMS + "\nprices: {m: {input: 1, output: 2}}",
            UPSTREAMS + "\nprices: {m: {input: 1, output: 2.5}}",
            UPSTREAMS + "\nprices: {m: {input: 1, output: 2}, '*': {input: 1, output: 1}}",
            UPSTREAMS + "\nprices: {'*': {input: 1, output: 1}, m: {input: 1, output: 2}}",
            UPSTREAMS.replace("1.15", "1.16"),
        ]
        versions = [PriceBook(loaded(text)).version for text in texts]
        assert len(set(versions)) == len(versions)
        assert versions[0] == PriceBook(loaded(UPSTREAMS + "\nlimits: {}")).version

    def test_it_stands_on_each_price(self) -> None:
        prices = book()
        found = prices.price("openai", MINI)
        assert found is not None
        assert (found.version, found.source) == (prices.version, "fine-tuned")


class TestTime:
    def test_prices_are_those_of_the_time_of_the_call(self) -> None:
        before = datetime(2025, 6, 1, tzinfo=UTC).timestamp()
        assert dollars(book().price("openai", "o3", at=before)) == (10, 0.5, 40)
        assert dollars(book().price("openai", "o3")) == (2, 0.5, 8)

    def test_a_book_that_lives_long_follows_the_clock(self) -> None:
        now = datetime(2025, 6, 9, 23, 59, tzinfo=UTC).timestamp()
        prices = PriceBook(loaded(UPSTREAMS), clock=lambda: now)
        assert dollars(prices.price("openai", "o3")) == (10, 0.5, 40)
        now += 60
        assert dollars(prices.price("openai", "o3")) == (2, 0.5, 8)


def test_answers_are_remembered_but_not_without_end() -> None:
    prices = book()
    assert prices.price("openai", MINI) is prices.price("openai", MINI)
    for number in range(10_000):
        prices.price("openai", f"made-up-{number}")
    assert len(prices._known) <= 4096
    assert dollars(prices.price("openai", MINI)) == (0.80, 0.20, 3.20)


tokens = st.integers(0, 100) | st.integers(0, 10**9)
usages = st.builds(Usage, tokens, tokens, tokens, tokens, tokens)
money = st.decimals(0, 10_000, places=6)
FIELDS = ("cached_input", "cache_write", "reasoning")


@settings(max_examples=150, deadline=None)
@given(
    usage=usages,
    base=st.sampled_from(sorted(PUBLISHED)) | st.just("gpt-unheard-of"),
    form=st.sampled_from(["ft:{}:acme:support:AbC", "ft:{}:acme::x:ckpt-step-9", "ft:{}:acme:name"]),
    factor=st.decimals(0, 1000, places=4),
    override=st.none()
    | st.fixed_dictionaries({"input": money, "output": money}, optional=dict.fromkeys(FIELDS, money)),
    by_glob=st.booleans(),
    tier=st.sampled_from([None, "default", "auto", "batch", "priority", "flex", "fast", "scale"]),
    tiers=st.dictionaries(
        st.sampled_from(["batch", "priority", "flex"]),
        st.fixed_dictionaries({"input": money, "output": money}),
        max_size=2,
    ),
    url=st.sampled_from([None, "https://relay.example/v1", "http://127.0.0.1:8000/v1"]),
)
def test_a_bill_is_that_of_the_exact_model(
    usage, base, form, factor, override, by_glob, tier, tiers, url
) -> None:
    """Every way to configure a price, a factor, a tier and an id, against a model without any of the code."""
    model = form.format(base)
    where = {"kind": "demo"} if url is None else {"base_url": url}
    document = {"upstreams": {"u": where | {"price_multiplier": float(factor)}}}
    if override is not None:
        block = as_numbers(override)
        if tiers:
            block["service_tiers"] = {name: as_numbers(rates) for name, rates in tiers.items()}
        document["prices"] = {f"ft:{base}*" if by_glob else model: block}
    prices = PriceBook(Settings.model_validate(document), clock=lambda: AT)

    known = {"fast": "priority", "auto": None, "default": None}.get(tier, tier)
    if override is not None:
        rates = override if known is None else tiers.get(known)
    elif base not in PUBLISHED:
        rates = None
    elif known is None:
        rates = dict(zip(("input", "cached_input", "output"), PUBLISHED[base], strict=True))
    else:
        rates = BATCH.get(base) if known == "batch" else None

    found = prices.price("u", model, tier)
    if rates is None:
        assert found is None
    else:
        assert found is not None
        listed = {name: str(value) for name, value in rates.items()}
        assert cost(usage, found) == expected_cost(usage, listed, str(factor))


def as_numbers(rates):
    """As a file has them."""
    return {name: float(value) for name, value in rates.items()}


BATCH = {
    row.bases[0]: dict(zip(("input", "cached_input", "output"), row.batch, strict=True))
    for row in FINE_TUNED
    if row.batch and row.bases[0] in PUBLISHED
}


def test_decimals_of_a_file_are_not_those_of_floats() -> None:
    prices = book("\nprices: {m: {input: 0.1, output: 0.7}}")
    found = prices.price("relay", "m")
    assert found is not None
    assert found.rates.output == Decimal("0.7") * Decimal("1.15") * 10**9 == 805_000_000
