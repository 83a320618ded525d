"""Commands that are put together from kept pieces say what they would if each part had been packed alone."""

from __future__ import annotations

from typing import Any

import hiredis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.values import (
    MAX_NANOUSD,
    UNLIMITED,
    Admission,
    Bounds,
    Budget,
    Counters,
    Dimensions,
    Settlement,
)
from gateway.store import account_wire, keys
from gateway.store.account_forms import SettlementForm
from gateway.store.scripts import Script
from gateway.store.slots import slot_of

SCRIPT = Script.of("any", "return 1")
KEY = "07abcdefghij"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, MAX_NANOUSD)
limits = st.none() | st.integers(0, UNLIMITED + 1)


def told(packed: bytes) -> tuple[list[str], list[bytes]]:
    """Keys and arguments of a packed call of the script."""
    reader = hiredis.Reader()
    reader.feed(packed)
    parts: list[bytes] = reader.gets()
    assert reader.gets() is False  # nothing but this one command
    assert parts[:2] == [b"EVALSHA", SCRIPT.sha.encode()]
    end = 3 + int(parts[2])
    return [part.decode() for part in parts[3:end]], parts[end:]


def limit(value: int | None) -> bytes:
    return b"" if value is None or value >= UNLIMITED else b"%d" % value


@given(
    st.builds(
        Admission,
        request_id=st.from_regex(r"[a-z0-9_]{1,40}", fullmatch=True),
        key_id=st.sampled_from([KEY, "63zzzzzzzzzz"]),
        revision=st.integers(1, 10**6),
        process=st.sampled_from(["1-a", "22-b"]),
        bounds=st.builds(Bounds, limits, limits, limits),
        tokens=st.integers(-1, 2 * UNLIMITED),
        bound_nanousd=st.integers(0, 2 * MAX_NANOUSD),
        budget=st.none() | st.builds(Budget, counts, st.sampled_from(["day", "month", "total"])),
        has_credit=st.booleans(),
        basis=st.binary(max_size=50),
    )
)
def test_an_admission(asked: Admission) -> None:
    key, packed = account_wire.admit_command(SCRIPT, asked)

    names, arguments = told(packed)

    known = keys.of_account(asked.key_id)
    assert key == names[0]
    assert names == [
        known.record,
        known.limits,
        known.account,
        known.reservations,
        known.leases,
        keys.mark(asked.key_id[:2], asked.request_id),
    ]
    tokens, bound = min(max(0, asked.tokens), UNLIMITED), min(asked.bound_nanousd or 0, MAX_NANOUSD)
    assert arguments == [
        b"[%d,%d]" % (tokens, bound),
        asked.basis,
        b"%d" % asked.revision,
        asked.process.encode(),
        asked.key_id.encode(),
        limit(asked.bounds.rpm),
        limit(asked.bounds.tpm),
        limit(asked.bounds.concurrency),
        asked.budget.period.encode() if asked.budget else b"",
        b"%d" % asked.budget.limit_nanousd if asked.budget else b"",
        b"%d" % asked.has_credit,
    ]


def test_an_unknown_bound_is_told_as_such_and_holds_no_money() -> None:
    known: dict[str, Any] = {"request_id": "r", "key_id": KEY, "revision": 1, "process": "p", "tokens": 3}
    asked = Admission(**known, bounds=Bounds())
    assert told(account_wire.admit_command(SCRIPT, asked)[1])[1][0] == b"[3,null]"
    for paying in ({"budget": Budget(1, "day")}, {"has_credit": True}):
        with pytest.raises(ValueError, match="needs a bound"):
            account_wire.admit_command(SCRIPT, msgspec.structs.replace(asked, **paying))


@given(
    st.builds(
        Settlement,
        request_id=st.from_regex(r"[a-z0-9_]{1,40}", fullmatch=True),
        key_id=st.sampled_from([KEY, "63zzzzzzzzzz"]),
        state=st.sampled_from(["exact", "estimated", "released", "orphaned", "withdrawn"]),
        record=st.binary(max_size=50),
        admitted_ms=st.integers(0, 10**14),
        counters=st.builds(Counters, *[st.integers(-5, 10 * MAX_NANOUSD)] * 10),
        dimensions=st.builds(Dimensions, texts, texts, texts, texts, texts, texts),
        tokens_actual=st.integers(-1, 2 * UNLIMITED),
        tpm=limits,
        has_credit=st.booleans(),
        was_reserved=st.booleans(),
        only_if_reserved=st.booleans(),
    )
)
def test_a_settlement(settlement: Settlement) -> None:
    key, packed = account_wire.settle_command(SCRIPT, settlement)

    names, arguments = told(packed)

    known = keys.of_account(settlement.key_id)
    assert key == names[0]
    assert names == [
        known.limits,
        known.account,
        known.reservations,
        known.leases,
        known.ledger,
        keys.mark(settlement.key_id[:2], settlement.request_id),
    ]
    counters = [min(max(0, count), MAX_NANOUSD) for count in msgspec.structs.astuple(settlement.counters)]
    tokens = min(max(0, settlement.tokens_actual), UNLIMITED)
    assert arguments == [
        settlement.record,
        msgspec.json.encode([settlement.admitted_ms, tokens, *counters]),
        settlement.dimensions.joined().encode(),
        settlement.state.encode(),
        limit(settlement.tpm),
        b"%d" % settlement.has_credit,
        b"%d" % settlement.was_reserved,
        b"%d" % settlement.only_if_reserved,
    ]


def test_all_keys_of_a_call_share_the_slot_of_the_first() -> None:
    asked = Admission(
        request_id="r", key_id=KEY, revision=1, process="p", bounds=Bounds(), tokens=3, bound_nanousd=0
    )
    names, _ = told(account_wire.admit_command(SCRIPT, asked)[1])
    assert len({slot_of(("GET", name)) for name in names}) == 1


@given(st.lists(st.integers(-5, 2 * MAX_NANOUSD), min_size=10, max_size=10))
def test_counts_that_no_script_could_add_are_cut(counts: list[int]) -> None:
    form = SettlementForm(SCRIPT, key_id=KEY, tpm=None, has_credit=False)
    _, arguments = told(form.packed("r", b"{}", (7, 1, *counts), form.tail("", "exact")))
    added = [min(max(0, each), MAX_NANOUSD) for each in counts]
    assert msgspec.json.decode(arguments[1]) == [7, 1, *added]


@given(st.integers(-5, 2 * UNLIMITED))
def test_tokens_that_no_limit_has_are_cut(tokens: int) -> None:
    form = SettlementForm(SCRIPT, key_id=KEY, tpm=None, has_credit=False)
    _, arguments = told(form.packed("r", b"{}", (7, tokens, *[0] * 10), form.tail("", "exact")))
    assert msgspec.json.decode(arguments[1])[:2] == [7, min(max(0, tokens), UNLIMITED)]


@pytest.mark.parametrize("size", [0, 9, 10, 2047, 2048, 100_000])
def test_a_record_of_any_size(size: int) -> None:
    form = SettlementForm(SCRIPT, key_id=KEY, tpm=None, has_credit=False)
    record = b"r" * size
    _, arguments = told(form.packed("r", record, (7, 1, *[0] * 10), form.tail("", "exact")))
    assert arguments[0] == record
