"""Money: whole nano-dollars inside, decimal US dollars outside, and nothing lost between the two."""

from __future__ import annotations

import re
from decimal import Decimal

NANO = 10**9
"""Nano-dollars in a US dollar."""

_DECIMAL = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,9})?")


def usd(nanousd: int) -> str:
    """Nano-dollars as a decimal number of US dollars, exactly: "0.1", "5", "-0.000000001"."""
    whole, part = divmod(abs(nanousd), NANO)
    text = f"{whole}.{part:09d}".rstrip("0").removesuffix(".")
    return f"-{text}" if nanousd < 0 else text


def nanousd_of(amount: float | str, most: int) -> int:
    """An amount of US dollars, as JSON gives it, in nano-dollars.

    A number is taken at its shortest decimal form, so 0.1 is a tenth.

    Args:
        amount: a number, or a text of digits with at most one point and no exponent.
        most: the largest amount, either way, in nano-dollars.

    Raises:
        ValueError: it is no amount, too large, or more precise than a nano-dollar; says so.
    """
    if isinstance(amount, bool) or not isinstance(amount, int | float | str):
        raise ValueError(_WORDS)  # noqa: TRY004  # one error for whatever is no amount
    if isinstance(amount, str) and not _DECIMAL.fullmatch(amount):
        raise ValueError(_WORDS)
    exact = Decimal(repr(amount) if isinstance(amount, float) else amount)
    if not exact.is_finite():
        raise ValueError(_WORDS)
    if abs(exact) > Decimal(most) / NANO:
        raise ValueError(f"must be at most {usd(most)}")
    nanousd = exact * NANO  # at most 9 + 17 digits: within the 28 that Decimal keeps
    if nanousd != int(nanousd):
        raise ValueError("may have nine decimals at most: a nano-dollar")
    return int(nanousd)


_WORDS = 'must be a number of US dollars, or one as text such as "12.50", with nine decimals at most'
