"""The checker of the chaos runs finds each kind of violation, and nothing where all is well."""

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.kit.checker import (
    PROMISES,
    Account,
    ClientCall,
    Dispatch,
    Entry,
    Logs,
    Prices,
    check,
)

PRICES = Prices(prompt=1_000, completion=2_000)


def record(request_id: str, token: str | None, key: str = "k1", **fields: Any) -> Entry:
    """The record of a call that wrote three words."""
    given = {
        "request_id": request_id,
        "upstream_request_id": token,
        "key": key,
        "stream": False,
        "state": "exact",
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "cost_nanousd": 16_000,
    }
    return Entry("event", given | fields)


def orphan(request_id: str, key: str = "k1", **fields: Any) -> Entry:
    nothing = {"prompt_tokens": None, "completion_tokens": None}
    return record(request_id, None, key, state="orphaned", cost_nanousd=50_000, **nothing, **fields)


def correction(entry: Entry, **fields: Any) -> Entry:
    return Entry("correction", {**entry.record, **fields})


GOOD = ClientCall("t1", "k1", stream=False, request_id="r1", status=200, acknowledged=True, relayed=3)
"""A JSON reply that arrived."""
CUT = ClientCall("t2", "k1", stream=True, request_id="r2", status=200, relayed=1)
"""A stream whose client left after its first word."""
DEAD = ClientCall("t3", "k1", stream=True)
"""A call whose process was killed before headers left."""
REFUSED = ClientCall("t4", "k1", stream=False, request_id="r4", status=429, code="insufficient_quota")

DISPATCHES = [
    Dispatch("t1", 1, 3, told_usage=True),
    Dispatch("t2", 1, 2, told_usage=False),
    Dispatch("t3", 1, 1, told_usage=False),
]
ENTRIES = [
    record("r1", "t1"),
    record("r2", "t2", stream=True, state="estimated", completion_tokens=2, cost_nanousd=14_000),
    orphan("r3", stream=True),
]


def logs(**changed: Any) -> Logs:
    """The three logs of four calls with which all is well, but for what is changed."""
    given = Logs(
        calls=[GOOD, CUT, DEAD, REFUSED],
        dispatches=DISPATCHES,
        entries=ENTRIES,
        accounts=[],
        open_reservations=0,
        counted=(0, 0),
        prices=PRICES,
    )
    given = replace(given, **changed)
    # The sums are right unless they are what is changed.
    last = {entry.record["request_id"]: entry.record for entry in given.entries}
    total = sum(each["cost_nanousd"] or 0 for each in last.values())
    sums: dict[str, Any] = {"accounts": [Account("k1", total, 0)], "counted": (len(last), total)}
    return replace(given, **{name: value for name, value in sums.items() if name not in changed})


def found(**changed: Any) -> dict[str, int]:
    return check(logs(**changed)).by_kind


def test_all_is_well() -> None:
    verdict = check(logs())
    assert verdict.violations == []
    assert verdict.figures == {
        "requests": 4,
        "acknowledged": 1,
        "refused": 1,
        "without_headers": 1,
        "dispatched": 3,
        "records": 3,
        "records_orphaned": 1,
        "records_released": 0,
        "records_estimated": 1,
        "records_exact": 1,
        "corrections": 0,
        "matched_by_number": 1,
        "violations": 0,
    }


def test_an_acknowledged_call_without_a_record_is_lost() -> None:
    assert found(entries=ENTRIES[1:]) == {"lost": 1}


def test_a_stream_that_was_dispatched_and_has_no_record_is_noticed() -> None:
    assert found(entries=[ENTRIES[0], ENTRIES[2]]) == {"unrecorded": 1}


def test_a_call_that_nobody_has_a_name_for_is_missed_by_number() -> None:
    assert found(entries=ENTRIES[:2]) == {"unrecorded": 1}
    other_key = orphan("r3", "k2", stream=True)
    assert found(entries=[*ENTRIES[:2], other_key], accounts=[])["unrecorded"] == 1


def test_a_record_that_is_nobodys_is_noticed() -> None:
    assert found(entries=[*ENTRIES, orphan("r9", stream=True)]) == {"unexplained": 1}
    assert found(entries=[*ENTRIES, record("r9", "t9")]) == {"unexplained": 1}


def test_a_call_that_was_admitted_and_never_dispatched_may_have_a_record() -> None:
    assert found(dispatches=DISPATCHES[:2]) == {}


def test_settling_twice_is_noticed() -> None:
    """What a settlement without idempotence does: a settlement that is replayed is stored once more."""
    twice = [*ENTRIES, ENTRIES[0]]
    assert found(entries=twice) == {"doubled": 1}
    paid_twice = [Account("k1", sum(entry.record["cost_nanousd"] for entry in twice), 0)]
    assert found(entries=twice, accounts=paid_twice) == {"doubled": 1, "budget": 1}


def test_a_retry_under_another_id_is_noticed() -> None:
    assert found(entries=[*ENTRIES, record("r9", "t1")])["doubled"] == 1


def test_an_orphan_may_be_corrected_by_the_truth_but_not_the_truth_by_anything() -> None:
    late = orphan("r1")
    truth = correction(late, **ENTRIES[0].record)
    assert found(entries=[late, truth, *ENTRIES[1:]]) == {}
    assert found(entries=[late, truth, truth, *ENTRIES[1:]]) == {"doubled": 1}
    assert found(entries=[truth, *ENTRIES[1:]]) == {"wrong": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"completion_tokens": 2, "cost_nanousd": 14_000},
        {"completion_tokens": 4, "cost_nanousd": 18_000},
        {"cost_nanousd": 16_001},
        {"cost_nanousd": None},
        {"upstream_request_id": "t2"},
        {"state": "released", "prompt_tokens": 0, "completion_tokens": 0, "cost_nanousd": 0},
    ],
    ids=["less than relayed", "more than produced", "another cost", "no cost", "another call", "released"],
)
def test_an_acknowledged_call_is_charged_what_it_was(fields: dict[str, Any]) -> None:
    entries = [Entry("event", {**ENTRIES[0].record, **fields}), *ENTRIES[1:]]
    assert "wrong" in found(entries=entries)


def test_an_acknowledged_call_is_no_orphan() -> None:
    assert found(entries=[orphan("r1"), *ENTRIES[1:]]) == {"wrong": 1}


def test_a_figure_is_exact_only_if_the_upstream_told_it() -> None:
    untold = replace(DISPATCHES[0], told_usage=False)
    assert found(dispatches=[untold, *DISPATCHES[1:]]) == {"wrong": 1}


def test_a_cut_stream_is_charged_no_less_than_was_relayed() -> None:
    entries = [ENTRIES[0], Entry("event", {**ENTRIES[1].record, "completion_tokens": 0}), ENTRIES[2]]
    assert "wrong" in found(entries=entries)


def test_a_refused_call_has_no_record_unless_its_process_died() -> None:
    assert found(entries=[*ENTRIES, record("r4", None, completion_tokens=0)])["refused"] == 1
    assert found(entries=[*ENTRIES, orphan("r4")]) == {}


def test_money_that_does_not_add_up_is_noticed() -> None:
    total = sum(entry.record["cost_nanousd"] for entry in ENTRIES)
    assert found(accounts=[Account("k1", total - 1, 0)]) == {"budget": 1}
    assert found(accounts=[Account("k1", total, 0, total)]) == {}
    assert found(accounts=[Account("k1", total, 0, total - 1)]) == {"budget": 1}
    assert found(counted=(len(ENTRIES), total + 1)) == {"counters": 1}
    assert found(counted=(len(ENTRIES) + 1, total)) == {"counters": 1}


def test_what_stays_open_is_noticed() -> None:
    total = sum(entry.record["cost_nanousd"] for entry in ENTRIES)
    assert found(open_reservations=1) == {"open": 1}
    assert found(accounts=[Account("k1", total, 5)]) == {"open": 1}


def test_every_promise_can_be_broken() -> None:
    """The kinds that the tests above name are all there are."""
    assert set(PROMISES) == {
        *("lost", "doubled", "unrecorded", "unexplained", "wrong"),
        *("refused", "budget", "open", "counters"),
    }
