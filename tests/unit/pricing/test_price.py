from __future__ import annotations

from decimal import Decimal

from gateway.pricing.price import ListPrice, Price, Rates


def price(factor: str = "1", **usd: str) -> Price:
    listed = ListPrice({name: Decimal(value) for name, value in usd.items()}, "test")
    return Price.of(listed, Decimal(factor))


def test_rates_are_whole_nano_dollars_a_million() -> None:
    assert price(input="0.10", cached_input="0.01", output="0.50", cache_write="0.125").rates == Rates(
        input=100_000_000,
        cached_input=10_000_000,
        cache_write=125_000_000,
        output=500_000_000,
        reasoning=500_000_000,
    )


def test_what_is_not_stated_costs_as_much_as_the_rest_but_audio_is_unknown() -> None:
    rates = price(input="2", output="8").rates
    assert rates.cached_input == rates.cache_write == rates.input
    assert rates.reasoning == rates.output
    assert (rates.audio_input, rates.audio_cached_input, rates.audio_output) == (None, None, None)
    assert price(input="2", audio_input="32").rates.audio_cached_input == 32 * 10**9
    assert price(input="2").rates.output is None


def test_a_factor_is_exact_and_a_rate_is_rounded_half_up() -> None:
    assert price("1.15", input="0.0375").rates.input == 43_125_000
    assert price("0.5", input="0.000000001").rates.input == 1
    assert price("0.49", input="0.000000001").rates.input == 0
    assert price("0", input="3").rates.input == 0
    assert price("1.1", input="0.7").rates.input == 770_000_000  # in floats it is 770000000.0000001


def test_long_prompts_have_rates_of_their_own() -> None:
    listed = ListPrice(
        {"input": Decimal(1)}, "test", ((128, {"input": Decimal(2)}), (256, {"input": Decimal(4)}))
    )
    longer = Price.of(listed, Decimal(3))
    by_length = {tokens: longer.rates_for(tokens).input // 10**9 for tokens in (0, 128, 129, 256, 257, 10**9)}
    assert by_length == {0: 3, 128: 3, 129: 6, 256: 6, 257: 12, 10**9: 12}


def test_it_is_shown_in_dollars() -> None:
    shown = price(input="0.3", cached_input="0.15", output="1.2").usd_per_million()
    assert shown == {"input": 0.3, "cached_input": 0.15, "output": 1.2}
    assert price(input="0.02").usd_per_million()["output"] is None
