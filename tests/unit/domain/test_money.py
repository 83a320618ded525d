from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.money import NANO, nanousd_of, usd

MOST = 9_000_000 * NANO


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (100_000_000, "0.1"),
        (5 * NANO, "5"),
        (10 * NANO, "10"),
        (-12_500_000_000, "-12.5"),
        (MOST, "9000000"),
    ],
)
def test_dollars_as_text(nanousd: int, text: str) -> None:
    assert usd(nanousd) == text
    assert nanousd_of(text, MOST) == nanousd


@pytest.mark.parametrize(
    ("amount", "nanousd"),
    [
        (5, 5 * NANO),
        (0.1, 100_000_000),
        (0.3, 300_000_000),
        (1e-9, 1),
        (9e6, MOST),
        (-0.0, 0),
        ("007.50", 7_500_000_000),
        ("8999999.123456789", 8_999_999_123_456_789),
        (8_000_000.123456789, 8_000_000_123_456_789),
        ("-0", 0),
    ],
)
def test_what_json_gives_is_read_exactly(amount: float | str, nanousd: int) -> None:
    assert nanousd_of(amount, MOST) == nanousd


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (True, "number of US dollars"),
        (None, "number of US dollars"),
        ([1], "number of US dollars"),
        ("", "number of US dollars"),
        ("1e3", "number of US dollars"),
        (" 1", "number of US dollars"),
        ("1\n", "number of US dollars"),
        ("+1", "number of US dollars"),
        (".5", "number of US dollars"),
        ("1.", "number of US dollars"),
        ("1_000", "number of US dollars"),
        ("$1", "number of US dollars"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "number of US dollars"),
        ("NaN", "number of US dollars"),
        ("0.0000000001", "number of US dollars"),
        (float("nan"), "number of US dollars"),
        (float("inf"), "number of US dollars"),
        (1e-10, "nine decimals"),
        (0.1 + 0.2, "nine decimals"),
        (9_000_001, "at most 9000000"),
        (-9_000_001, "at most 9000000"),
        ("9000000.000000001", "at most 9000000"),
        (1e300, "at most 9000000"),
        (10**400, "at most 9000000"),
    ],
)
def test_what_is_no_amount_is_refused(amount: float | str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nanousd_of(amount, MOST)


@given(st.integers(-MOST, MOST))
def test_nothing_is_lost_either_way(nanousd: int) -> None:
    assert nanousd_of(usd(nanousd), MOST) == nanousd
    assert Decimal(usd(nanousd)) * NANO == nanousd


@given(st.integers(-(2**22) * NANO, 2**22 * NANO))
def test_a_json_number_is_exact_up_to_four_million_dollars(nanousd: int) -> None:
    assert nanousd_of(float(usd(nanousd)), MOST) == nanousd
