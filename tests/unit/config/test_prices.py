"""Prices in the file: exact decimals, and what is no price."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.config.policy import RateSettings
from tests.unit.config.loading import loaded, said


def test_decimals_are_those_of_the_file() -> None:
    settings = loaded(
        """
        prices:
          "ft:gpt-4.1-mini-2025-04-14*": {input: 0.80, cached_input: 0.20, output: 3.20}
          m: {input: 1e-3, output: 0, service_tiers: {priority: {input: "${P}", output: 0.123456789}}}
        upstreams: {relay: {kind: demo, price_multiplier: 1.15}, plain: {kind: demo}}
        """,
        {"P": "0.7"},
    )
    tuned, other = settings.prices.values()
    assert (tuned.input, tuned.cached_input, tuned.output) == (Decimal("0.8"), Decimal("0.2"), Decimal("3.2"))
    assert (tuned.cache_write, tuned.audio_input) == (None, None)
    assert (other.input, other.output) == (Decimal("0.001"), 0)
    assert other.service_tiers == {
        "priority": RateSettings(input=Decimal("0.7"), output=Decimal("0.123456789"))
    }
    assert settings.upstreams["relay"].price_multiplier == Decimal("1.15")
    assert settings.upstreams["plain"].price_multiplier == 1
    assert isinstance(settings.upstreams["plain"].price_multiplier, Decimal)


@pytest.mark.parametrize(
    ("rates", "complaint"),
    [
        ("{input: -0.1, output: 2}", "prices.m.input: must be at least 0 (this is -0.1)"),
        ('{input: "1", output: 2}', 'prices.m.input: write a number, without quotes (this is "1")'),
        ("{input: .inf, output: 2}", 'prices.m.input: write a number (this is ".inf")'),
        ("{input: true, output: 2}", "prices.m.input: write a number (this is true)"),
        ("{input: 1}", "prices.m.output: missing, and there is no default"),
        ("{input: 1, output: 1000001}", "prices.m.output: must be at most 1000000 (this is 1000001)"),
        (
            "{input: 1, output: 1, service_tiers: {fast: {input: 1, output: 1}}}",
            "prices.m.service_tiers.fast: upstreams report fast as priority: name that one",
        ),
        (
            "{input: 1, output: 1, service_tiers: {default: {input: 1, output: 1}}}",
            "prices.m.service_tiers.default: the price itself is that of the default tier",
        ),
        (
            "{input: 1, output: 1, service_tiers: {flex: {input: 1, output: -1}}}",
            "prices.m.service_tiers.flex.output: must be at least 0 (this is -1)",
        ),
    ],
)
def test_what_is_no_price_is_refused(rates: str, complaint: str) -> None:
    [line] = said(f"prices: {{m: {rates}}}")
    assert line.startswith(f"f:1: {complaint}")


def test_a_multiplier_is_a_factor() -> None:
    [line] = said("upstreams: {a: {kind: demo, price_multiplier: -1}}")
    assert line == "f:1: upstreams.a.price_multiplier: must be at least 0 (this is -1)"
    assert said("upstreams: {a: {kind: demo, price_multiplier: 0}}") == []
