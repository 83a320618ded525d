"""The data of genai-prices: what is taken from it, and what is not."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from genai_prices import calc_price, update_prices
from genai_prices import types as genai
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.usage import Usage
from gateway.pricing import bundled
from gateway.pricing.bundled import OFFICIAL, bundled_price, context_window, provider_of
from gateway.pricing.cost import cost
from gateway.pricing.price import Price

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def listed(model: str, tier: str = "default", provider: str = OFFICIAL, at: datetime = NOW):
    found = bundled_price(provider, model, tier, at)
    return None if found is None else {name: str(value) for name, value in found.usd.items()}


def test_the_replacement_of_fine_tuned_models() -> None:
    expected = {"input": "0.1", "cached_input": "0.01", "cache_write": "0.125", "output": "0.5"}
    assert listed("gpt-6-luna") == expected
    assert listed("gpt-6-luna", "batch") == {name: str(Decimal(v) / 2) for name, v in expected.items()}
    found = bundled_price(OFFICIAL, "gpt-6-luna", "default", NOW)
    assert found is not None
    assert [(start, rates["input"]) for start, rates in found.longer] == [(272_000, Decimal("0.2"))]


def test_tiers_are_those_that_the_list_has() -> None:
    assert listed("gpt-4.1", "priority") == {"input": "3.5", "cached_input": "0.875", "output": "14"}
    assert listed("o3", "flex") == {"input": "1", "cached_input": "0.25", "output": "4"}
    assert listed("gpt-4.1", "flex") is None
    assert listed("gpt-4.1", "scale") is None
    assert listed("gpt-4.1", "nonsense") is None
    # what a tier's row does not name stays as it is at the default tier
    assert listed("gpt-4.1", "batch") == {"input": "1", "cached_input": "0.5", "output": "4"}


def test_prices_are_dated() -> None:
    assert listed("o3", at=datetime(2025, 6, 9, 23, 59, tzinfo=UTC))["input"] == "10"
    assert listed("o3", at=datetime(2025, 6, 10, tzinfo=UTC))["input"] == "2"
    assert listed("gpt-4.1", "priority", at=datetime(2026, 10, 1, tzinfo=UTC)) is None


def test_some_depend_on_the_hour() -> None:
    by_hour = [
        listed("deepseek-v4-pro", provider="deepseek", at=NOW.replace(hour=hour))["input"]
        for hour in (0, 2, 8)
    ]
    assert by_hour == ["0.66", "1.32", "1.32"]


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "gpt-4o-2024-08-06",
        "GPT-4o",
        "gpt-5-nano-2025-08-07",
        "gpt-4.5-preview-2025-02-27",
        "gpt-6-luna-2026-07-01",
        "gpt-3.5-turbo-instruct-0914",
        "text-embedding-3-small",
        "gpt-audio",
    ],
)
def test_ids_that_are_named_in_full(model: str) -> None:
    assert listed(model) is not None


@pytest.mark.parametrize(
    "model",
    [
        "gpt-5-nano-of-ours",
        "gpt-4.5-preview-tuned",
        "gpt-4o-mini-2024-07-18.ft-0123",
        "ft:gpt-3.5-turbo-0125",
        "ft:gpt-4-0613:acme::x",
        "gpt-4o-realtime-lora",
        "our-moderation",
        "",
        "gpt",
        "llama-3.1-8b",
        "gpt-oss-20b",  # whoever serves it has a price of their own
        "gpt-4o-audio-preview",  # the list leaves out what its audio costs
        "gpt-image-1",  # usage does not tell images from text
        "whisper-1",  # priced by the hour
        "tts-1",  # priced by the letter
    ],
)
def test_ids_that_are_not(model: str) -> None:
    assert listed(model) is None


def test_every_row_of_the_official_list_is_itself() -> None:
    """No literal name is taken by another row."""
    literal, _ = bundled._index(OFFICIAL)
    for name, info in literal.items():
        assert any(
            name == clause.equals for clause in bundled._alternatives(info.match) if _is_literal(clause)
        )
    assert len(literal) > 150


def _is_literal(clause: object) -> bool:
    return isinstance(clause, genai.ClauseEquals)


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        (None, "openai"),
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://relay.example/v1", "openai"),
        ("http://127.0.0.1:8000/v1", "openai"),
        ("https://notopenai.com/v1", "openai"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://acme.openai.azure.com/openai/v1", "azure"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.mistral.ai/v1", "mistral"),
    ],
)
def test_whose_list_holds_at_a_url(url: str | None, provider: str) -> None:
    assert provider_of(url) == provider


def test_azure_goes_by_the_official_list_where_its_own_says_nothing() -> None:
    assert listed("gpt-4o", provider="azure") is not None
    assert listed("gpt-6-luna", provider="azure") is not None
    assert listed("gpt-6-luna", "priority", provider="azure") is None


def test_contexts() -> None:
    assert context_window("gpt-4o-mini") == 128_000
    assert context_window("support-v3") is None


def test_nothing_is_fetched(monkeypatch) -> None:
    def refuse(*_, **__):
        raise AssertionError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    bundled._find.cache_clear()
    bundled._index.cache_clear()
    assert listed("gpt-4o") is not None
    assert listed("no-such-model") is None
    assert update_prices._shared_updater.ref_count == 0


literal_names = sorted(bundled._index(OFFICIAL)[0])
small = st.integers(0, 600_000)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(literal_names),
    st.sampled_from([None, "priority", "flex", "batch"]),
    st.integers(0, 730).map(lambda days: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days)),
    small,
    st.integers(0, 1000),
    st.integers(0, 1000),
    small,
    st.integers(0, 1000),
)
def test_a_cost_is_what_the_package_itself_reckons(
    model, tier, moment, fresh, cached, written, completion, reasoning
) -> None:
    found = bundled_price(OFFICIAL, model, tier or "default", moment)
    if found is None:
        return
    usage = Usage(fresh + cached + written, completion + reasoning, cached, written, reasoning)
    context = None if tier is None else {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
    theirs = calc_price(
        genai.Usage(
            input_tokens=usage.prompt_tokens,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            output_tokens=usage.completion_tokens,
        ),
        model,
        provider_id="openai",
        genai_request_timestamp=moment,
        price_context=context,
    )
    ours = cost(usage, Price.of(found))
    if ours is not None:
        assert abs(ours - theirs.total_price * 10**9) <= Decimal("0.5")
