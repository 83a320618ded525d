"""The ledger record: its fields, its sums, and what it adds to the counters."""

import json

import pytest

from gateway.limits.values import Counters, Dimensions
from gateway.metering.record import AttemptRecord, Basis, LedgerRecord, total_cost
from gateway.telemetry.metrics import ERROR_TYPES
from tests.unit.metering.made import KEY, record, reservation

FIELDS = """request_id ts key team alias release model upstream upstream_request_id route state stream cache
    fallback attempts prompt_tokens cached_tokens cache_write_tokens completion_tokens reasoning_tokens
    service_tier cost_nanousd saved_nanousd price_version usage_source error_type ttft_ms duration_ms"""
ATTEMPT_FIELDS = "upstream model outcome state prompt_tokens completion_tokens cost_nanousd"


def attempt(cost_nanousd: int | None) -> AttemptRecord:
    return AttemptRecord(upstream="openai", model="m", outcome="committed", cost_nanousd=cost_nanousd)


def test_it_has_the_published_fields_and_no_others():
    shown = json.loads(record(attempts=(attempt(1),)).encode())
    assert list(shown) == FIELDS.split()
    assert list(shown["attempts"][0]) == ATTEMPT_FIELDS.split()


def test_it_comes_back_as_it_was():
    given = record(attempts=(attempt(1), attempt(None)), team="blue", ttft_ms=12.5)
    assert LedgerRecord.decode(given.encode()) == given


@pytest.mark.parametrize(
    ("costs", "total"),
    [([], 0), ([0], 0), ([5, 7], 12), ([None], None), ([5, None], None), ([None, 5], None)],
)
def test_the_cost_is_the_sum_of_the_attempts_and_unknown_where_one_is(costs, total):
    assert total_cost(map(attempt, costs)) == total


def test_an_unknown_price_is_null_and_counted_never_zero():
    unpriced = record(cost_nanousd=None)
    assert json.loads(unpriced.encode())["cost_nanousd"] is None
    assert unpriced.counters() == Counters(prompt_tokens=9, completion_tokens=12, unpriced_requests=1)


def test_counters_are_what_the_record_says():
    full = record(
        cached_tokens=3,
        reasoning_tokens=4,
        saved_nanousd=8,
        cache="hit",
        error_type="stream_truncated",
    )
    assert full.counters() == Counters(
        requests=1,
        errors=1,
        cache_hits=1,
        prompt_tokens=9,
        cached_tokens=3,
        completion_tokens=12,
        reasoning_tokens=4,
        cost_nanousd=4500,
        saved_nanousd=8,
        unpriced_requests=0,
    )


@pytest.mark.parametrize(
    ("cache", "hits"), [("hit", 1), ("shared", 1), ("miss", 0), ("bypass", 0), (None, 0)]
)
def test_what_counts_as_a_cache_hit(cache, hits):
    assert record(cache=cache).counters().cache_hits == hits


def test_dimensions_have_no_nulls():
    assert record(alias="support", team="blue").dimensions == Dimensions(KEY, "support", "", "", "", "blue")


def test_a_settlement_says_what_the_record_says():
    made = record(alias="support").settlement(admitted_ms=7, tokens_actual=21, tpm=9, has_credit=True)
    assert made.record == record(alias="support").encode()
    assert (made.request_id, made.key_id, made.state) == ("req_1", KEY, "exact")
    assert (made.admitted_ms, made.tokens_actual, made.tpm, made.has_credit) == (7, 21, 9, True)
    assert made.was_reserved
    assert not made.only_if_reserved
    assert made.counters == record(alias="support").counters()


def test_an_orphan_costs_all_that_was_reserved():
    basis = Basis(
        route="chat.completions", team="blue", alias="support", release="support@1/stable", stream=True
    )
    orphan = Basis.decode(basis.encode()).orphaned(reservation("req_9"))
    assert (orphan.request_id, orphan.key, orphan.state, orphan.ts) == (
        "req_9",
        KEY,
        "orphaned",
        1795424002.123,
    )
    assert (orphan.cost_nanousd, orphan.usage_source) == (9000, "reservation")
    assert orphan.prompt_tokens is None
    assert orphan.stream
    assert orphan.dimensions == Dimensions(KEY, "support", "", "", "support@1/stable", "blue")
    assert orphan.counters() == Counters(errors=1, cost_nanousd=9000)
    assert orphan.error_type in ERROR_TYPES


def test_an_orphan_without_a_known_price_costs_nobody_knows_what():
    orphan = Basis(route="embeddings").orphaned(reservation(bound_nanousd=None))
    assert orphan.cost_nanousd is None
    assert orphan.counters().unpriced_requests == 1


def test_a_basis_is_small():
    assert Basis(route="embeddings").encode() == b'{"route":"embeddings"}'
