from __future__ import annotations

from typing import Any

import pytest

from gateway.limits.refusal import refusal_text, usd
from gateway.limits.values import Refused


def text(reason: Any, **given: Any) -> str:
    known = {
        "limit": 0,
        "remaining": 0,
        "asked": 1,
        "retry_after_ms": None,
        "at_ms": 0,
        "rpm": None,
        "tpm": None,
    }
    return refusal_text(Refused(reason=reason, **known | given))


def test_a_limit_that_is_reached() -> None:
    assert text("requests", limit=6, remaining=0, retry_after_ms=9000) == (
        "Rate limit reached for this key on requests per min (RPM): Limit 6, Used 6, Requested 1. "
        "Please try again in 9s."
    )
    assert text("tokens", limit=1000, remaining=300, asked=301, retry_after_ms=60) == (
        "Rate limit reached for this key on tokens per min (TPM): Limit 1000, Used 700, Requested 301. "
        "Please try again in 60ms."
    )
    assert text("concurrency", limit=2, retry_after_ms=1000) == (
        "Rate limit reached for this key on calls at once: Limit 2, Used 2, Requested 1. "
        "Please try again in 1s."
    )


def test_a_call_that_never_fits() -> None:
    assert text("tokens", limit=1000, remaining=1000, asked=1001) == (
        "Request too large for this key on tokens per min (TPM): Limit 1000, Requested 1001. "
        "The prompt or max_tokens must be smaller."
    )


@pytest.mark.parametrize("reason", ["requests", "tokens", "concurrency"])
def test_a_limit_of_none_at_all(reason: str) -> None:
    assert text(reason).startswith("This key may make no calls: its limit on ")


def test_money_names_what_is_left_and_what_was_asked() -> None:
    assert text("budget", limit=10**9, remaining=5_200_000, asked=10**10) == (
        "The budget of this key does not cover this call: it may cost up to $10, and $0.0052 of $1 are left."
        " A lower max_tokens lowers what a call may cost."
    )
    assert text("credit", remaining=0, asked=1) == (
        "The credit of this key does not cover this call: it may cost up to $0.000000001, and $0 is left."
        " A lower max_tokens lowers what a call may cost."
    )


@pytest.mark.parametrize(
    ("nanousd", "shown"),
    [(0, "$0"), (1, "$0.000000001"), (12_000, "$0.000012"), (1_500_000_000, "$1.5"), (100 * 10**9, "$100")],
)
def test_amounts(nanousd: int, shown: str) -> None:
    assert usd(nanousd) == shown
