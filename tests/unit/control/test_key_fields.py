from typing import Any

import pytest

from gateway.auth.record import KeyBudget, KeyRecord
from gateway.control.key_fields import changed
from gateway.domain.errors import InvalidRequest

NOW = 1000.0
UNLIMITED = {"rpm": None, "tpm": None, "concurrency": None}


def record(**fields: Any) -> KeyRecord:
    return KeyRecord(id="00aaaaaaaaaa", name="x", digests=(), created_at=1, **fields)


@pytest.mark.parametrize(
    ("known", "given", "merged"),
    [
        ({}, {}, {}),
        ({}, {"rpm": 5}, {"rpm": 5}),
        ({}, {"rpm": 0}, {"rpm": 0}),
        ({}, None, UNLIMITED),
        ({"rpm": 5}, {"tpm": 7}, {"rpm": 5, "tpm": 7}),
        ({"rpm": 5}, {"rpm": None}, {"rpm": None}),
        ({"rpm": 5, "tpm": None}, {"rpm": "default"}, {"tpm": None}),
        ({}, {"rpm": "default"}, {}),
        ({"rpm": 5}, None, UNLIMITED),
        (
            {},
            {"rpm": 10**9, "tpm": 10**30, "concurrency": 10**9 - 1},
            {**UNLIMITED, "concurrency": 10**9 - 1},
        ),
    ],
)
def test_limits_are_merged_one_by_one(
    known: dict[str, int | None], given: dict[str, Any] | None, merged: dict[str, int | None]
) -> None:
    assert changed(record(limits=known), {"limits": given}, NOW).limits == merged


def test_what_is_absent_stays() -> None:
    before = record(
        limits={"rpm": 5},
        budget=KeyBudget(7, "day"),
        has_credit=True,
        training="all",
        max_output_tokens=9,
        aliases=("a",),
        metadata={"n": 1},
    )
    assert changed(before, {}, NOW) == before
    assert changed(before, {"team": "t"}, NOW).limits == {"rpm": 5}


def test_a_null_lifts_a_restriction_or_is_the_default() -> None:
    before = record(
        budget=KeyBudget(7, "day"), has_credit=True, training="all", max_output_tokens=9, aliases=("a",)
    )
    names = ("budget", "credit_usd", "training", "max_output_tokens", "aliases", "may_pin", "metadata")
    assert changed(before, dict.fromkeys(names), NOW) == record()


def test_a_budget_replaces_another_whole() -> None:
    before = record(budget=KeyBudget(7, "day"))
    after = changed(before, {"budget": {"usd": 0, "period": "total"}}, NOW)
    assert after.budget == KeyBudget(0, "total")


@pytest.mark.parametrize("credit", [0, 5])
def test_credit_makes_a_key_pay_from_it(credit: int) -> None:
    assert changed(record(), {"credit_usd": credit}, NOW).has_credit


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        changed(record(), {"expires_at": 1000}, NOW)
    assert refused.value.param == "expires_at"
