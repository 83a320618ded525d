"""Usage to money: worked examples, and the exact model over everything that a usage and a price can be."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.usage import Usage
from gateway.pricing.cost import bound, cost, dearest
from gateway.pricing.price import ListPrice, Price
from tests.unit.pricing.exact_model import Listed, expected_cost
from tests.unit.pricing.test_price import price

LUNA = price(input="0.10", cached_input="0.01", cache_write="0.125", output="0.50")


def test_parts_of_the_prompt_are_taken_from_it() -> None:
    usage = Usage(prompt_tokens=1000, cached_tokens=300, cache_write_tokens=100, completion_tokens=200)
    # 600 at 0.10, 300 at 0.01, 100 at 0.125, 200 at 0.50 dollars a million
    assert cost(usage, LUNA) == 60_000 + 3_000 + 12_500 + 100_000


def test_reasoning_is_a_part_of_the_completion() -> None:
    thinking = price(input="1", output="4", reasoning="3")
    assert cost(Usage(completion_tokens=10, reasoning_tokens=4), thinking) == 6 * 4000 + 4 * 3000
    assert cost(Usage(completion_tokens=10, reasoning_tokens=4), LUNA) == 5_000


def test_audio_has_prices_of_its_own_or_none() -> None:
    speaking = price(
        input="4",
        cached_input="0.4",
        output="16",
        audio_input="32",
        audio_cached_input="0.5",
        audio_output="64",
    )
    usage = Usage(100, 50, cached_tokens=40, audio_prompt_tokens=70, audio_completion_tokens=30)
    # 60 fresh, all of them audio; 40 cached, 10 of them audio
    assert cost(usage, speaking) == 60 * 32_000 + 10 * 500 + 30 * 400 + 20 * 16_000 + 30 * 64_000
    assert cost(usage, LUNA) is None
    assert cost(replace(usage, audio_prompt_tokens=0), LUNA) is None
    assert cost(Usage(100, 50), LUNA) == 35_000


def test_output_of_unknown_price_is_unknown_where_there_is_some() -> None:
    embedding = price(input="0.02")
    assert cost(Usage(prompt_tokens=50), embedding) == 1_000
    assert cost(Usage(prompt_tokens=50, completion_tokens=1), embedding) is None
    assert bound(embedding, 50, 0) == 1_000
    assert bound(embedding, 50, 1) is None


def test_it_is_rounded_half_up_once() -> None:
    tenth = price(input="0.0001", output="0.0004")
    assert [cost(Usage(prompt_tokens=tokens), tenth) for tokens in (4, 5, 14, 15)] == [0, 1, 1, 2]
    assert cost(Usage(prompt_tokens=3, completion_tokens=1), tenth) == 1  # 0.3 + 0.4


@pytest.mark.parametrize(
    "usage",
    [
        Usage(prompt_tokens=10, cached_tokens=99),
        Usage(prompt_tokens=10, cached_tokens=8, cache_write_tokens=99),
        Usage(completion_tokens=10, reasoning_tokens=99),
        Usage(10, 10, 10, 10, 10, audio_prompt_tokens=99, audio_completion_tokens=99),
    ],
)
def test_parts_that_do_not_fit_are_cut(usage: Usage) -> None:
    flat = price(input="1", output="1", audio_input="1", audio_output="1")
    assert cost(usage, flat) == 1000 * (usage.prompt_tokens + usage.completion_tokens)


def test_a_bound_takes_the_dearest_of_every_kind_and_length() -> None:
    assert bound(LUNA, 1000, 100) == 125_000 + 50_000
    rates = {"input": Decimal(1), "output": Decimal(2)}
    cliff = Price.of(ListPrice(rates, "t", ((100, {"input": Decimal(3), "output": Decimal(1)}),)))
    assert bound(cliff, 100, 10) == 100 * 1000 + 10 * 2000
    assert bound(cliff, 101, 10) == 101 * 3000 + 10 * 1000
    assert bound(cliff, 101, 10_000) == 101 * 1000 + 10_000 * 2000  # a shorter prompt would be dearer
    assert bound(price(input="0.0001", output="0"), 1, 0) == 1  # rounded up


def test_the_dearest_of_several() -> None:
    one, other = price(input="1", output="8"), price(input="2", output="4")
    assert dearest([one, None, other], 1000, 1) == 2_004_000
    assert dearest([one, None, other], 1, 1000) == 8_001_000
    assert dearest([None], 1, 1) is None
    assert dearest([], 1, 1) is None


tokens = st.integers(0, 50) | st.integers(0, 10**6) | st.integers(0, 10**12)
usages = st.builds(Usage, tokens, tokens, tokens, tokens, tokens, tokens, tokens)
usd = st.decimals(0, 1000, places=9).map(str) | st.sampled_from(["0", "0.075", "0.1", "12.5", "1000000"])
OPTIONAL = (
    "output",
    "cached_input",
    "cache_write",
    "reasoning",
    "audio_input",
    "audio_cached_input",
    "audio_output",
)
lists = st.fixed_dictionaries({"input": usd}, optional=dict.fromkeys(OPTIONAL, usd | st.none()))
longer = st.dictionaries(tokens, lists, max_size=2).map(lambda found: sorted(found.items()))
factors = st.sampled_from(["1", "1.15", "0", "0.333", "2"]) | st.decimals(0, 1000, places=6).map(str)


def as_decimals(listed: Listed) -> dict[str, Decimal | None]:
    return {name: None if value is None else Decimal(value) for name, value in listed.items()}


def made(listed: Listed, factor: str, cliffs: list[tuple[int, Listed]]) -> Price:
    longer_rates = tuple((start, as_decimals(rates)) for start, rates in cliffs)
    return Price.of(ListPrice(as_decimals(listed), "t", longer_rates), Decimal(factor))


@settings(max_examples=600, deadline=None)
@given(usages, lists, factors, longer)
def test_a_cost_is_that_of_the_exact_model(
    usage: Usage, listed: Listed, factor: str, cliffs: list[tuple[int, Listed]]
) -> None:
    found = cost(usage, made(listed, factor, cliffs))
    assert found == expected_cost(usage, listed, factor, cliffs)
    assert found is None or isinstance(found, int)


@settings(max_examples=300, deadline=None)
@given(usages, lists, factors, longer, tokens, tokens)
def test_no_call_costs_more_than_its_bound(
    usage: Usage, listed: Listed, factor: str, cliffs: list[tuple[int, Listed]], more: int, longer_answer: int
) -> None:
    made_price = made(listed, factor, cliffs)
    spent = cost(usage, made_price)
    most = bound(made_price, usage.prompt_tokens + more, usage.completion_tokens + longer_answer)
    assert spent is None or most is None or spent <= most
