from __future__ import annotations

from typing import Any

from gateway.limits.bucket import UNIT
from gateway.limits.values import UNLIMITED, Admission, Bounds, Budget, Reason, Refused, Window
from gateway.limits.verdict import CONCURRENCY_RETRY_MS, Levels, admitted, refused, window_of


def refusal(reason: Reason, bounds: Bounds, levels: Levels, money: int = 0, **given: Any) -> Refused:
    known: dict[str, Any] = {"request_id": "r", "key_id": "07k", "revision": 1, "process": "p", "tokens": 300}
    return refused(reason, Admission(**known | {"bounds": bounds} | given), bounds, levels, money)


def figures(found: Refused) -> tuple[int, int, int, int | None]:
    return found.limit, found.remaining, found.asked, found.retry_after_ms


def test_each_reason_has_the_figures_of_its_bound() -> None:
    bounds = Bounds(rpm=6, tpm=1000, concurrency=2)
    levels = Levels(7, 6 * UNIT, 800 * UNIT, 2)
    assert figures(refusal("requests", bounds, levels)) == (6, 0, 1, 10_000)
    assert figures(refusal("tokens", bounds, levels)) == (1000, 200, 300, 6000)
    assert figures(refusal("concurrency", bounds, levels)) == (2, 0, 1, CONCURRENCY_RETRY_MS)
    budget = Budget(100, "day")
    assert figures(refusal("budget", bounds, levels, 40, bound_nanousd=50, budget=budget)) == (
        100,
        40,
        50,
        None,
    )
    assert figures(refusal("credit", bounds, levels, 40, bound_nanousd=50)) == (0, 40, 50, None)


def test_a_refusal_has_both_windows_whatever_the_reason() -> None:
    found = refusal("concurrency", Bounds(rpm=6, concurrency=1), Levels(7, UNIT, 0, 1))
    assert (found.rpm, found.tpm, found.at_ms) == (Window(6, 5, 10_000), None, 7)


def test_waiting_does_not_help_where_nothing_ever_fits() -> None:
    none = Bounds(rpm=0, tpm=0, concurrency=0)
    for reason in ("requests", "tokens", "concurrency"):
        assert refusal(reason, none, Levels(0, 0, 0, 0)).retry_after_ms is None
    assert refusal("tokens", Bounds(tpm=299), Levels(0, 0, 0, 0)).retry_after_ms is None


def test_what_is_left_is_never_below_zero() -> None:
    """After a limit was lowered, or a correction cost more."""
    assert refusal("concurrency", Bounds(concurrency=1), Levels(0, 0, 0, 3)).remaining == 0
    assert refusal("budget", Bounds(), Levels(0, 0, 0, 0), -5, budget=Budget(1, "day")).remaining == 0
    assert refusal("tokens", Bounds(tpm=10), Levels(0, 0, 99 * UNIT, 0)).remaining == 0


def test_the_unlimited_have_no_window() -> None:
    assert window_of(None, 5) is None
    assert window_of(UNLIMITED, 5) is None
    found = admitted(Bounds(), Levels(7, 0, 0, 3), budget_nanousd=1, credit_nanousd=2)
    assert (found.rpm, found.tpm, found.in_use, found.at_ms) == (None, None, 3, 7)
    assert (found.budget_nanousd, found.credit_nanousd) == (1, 2)
