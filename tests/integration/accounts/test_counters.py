"""Counters are exact to the last unit, whatever they stand at, and expire when they should."""

from datetime import UTC, datetime

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limits.values import LEASE_MS, MAX_NANOUSD, METRICS, Bounds, Budget, Counters
from gateway.store import keys
from tests.integration.accounts.bench import Bench
from tests.integration.accounts.made import KEY, NOON, SHARD, admission, settlement
from tests.integration.accounts.model import DAY_MS

ACCOUNT = keys.key_account(KEY)
DAY, MONTH = keys.key_period(KEY, "20261123"), keys.key_period(KEY, "202611")
OF_DAY, OF_HOUR = keys.usage_of_day(SHARD, "20261123"), keys.usage_of_hour(SHARD, "2026112312")
OF_KEY = ("requests", "prompt_tokens", "completion_tokens", "cost_nanousd")
DIMENSIONS = settlement().dimensions.joined() + "\x1f"
SURE = 2**53
"""Above it Lua's numbers are not exact; the server's are, up to 2^63."""

standing = st.one_of(
    st.integers(-20, 20),
    st.integers(SURE - 20, SURE + 20),
    st.integers(MAX_NANOUSD - 20, MAX_NANOUSD + 20),
    st.sampled_from([10**15 - 1, 10**15, 10**16 + 1, 2**62 + 1]),
    st.integers(0, 2**62),
)
amounts = st.one_of(
    st.just(0), st.integers(1, 20), st.integers(0, MAX_NANOUSD), st.sampled_from([10**15, MAX_NANOUSD])
)
metrics = st.builds(Counters, **dict.fromkeys(METRICS, amounts) | {"requests": st.just(1)})


def counters_of(bench: Bench, name: str, prefix: str = "") -> dict[str, int]:
    return {field.removeprefix(prefix): int(value) for field, value in bench.hash(name).items()}


@settings(max_examples=300, deadline=None, database=None)
@given(
    before=st.fixed_dictionaries({}, optional=dict.fromkeys(METRICS, standing)),
    estimated=metrics,
    exact=st.none() | metrics,
)
def test_no_unit_is_lost(
    standing_bench: Bench, before: dict[str, int], estimated: Counters, exact: Counters | None
) -> None:
    bench = standing_bench
    bench.one("FLUSHALL", "SYNC")
    for field, value in before.items():
        for name, prefix in ((OF_DAY, DIMENSIONS), (OF_HOUR, DIMENSIONS), (DAY, ""), (MONTH, "")):
            if prefix or field in OF_KEY:
                bench.one("HSET", name, prefix + field, value)
        if field == "cost_nanousd":
            bench.one("HSET", ACCOUNT, field, value)

    assert bench.settle(settlement(state="estimated", counters=estimated), NOON) == "stored"
    if exact is not None:
        assert bench.settle(settlement(counters=exact), NOON) == "corrected"

    stands = estimated if exact is None else exact
    touched = {field for each in (estimated, exact) if each for field in METRICS if getattr(each, field)}
    expected = {
        field: before.get(field, 0) + getattr(stands, field)
        for field in METRICS
        if field in before or field in touched
    }
    of_key = {field: value for field, value in expected.items() if field in OF_KEY}
    assert counters_of(bench, OF_DAY, DIMENSIONS) == expected
    assert counters_of(bench, OF_HOUR, DIMENSIONS) == expected
    assert counters_of(bench, DAY) == of_key
    assert counters_of(bench, MONTH) == of_key
    cost = {"cost_nanousd": expected["cost_nanousd"]} if "cost_nanousd" in expected else {}
    assert counters_of(bench, ACCOUNT) == cost


def test_priced_and_unpriced_calls_of_a_key_are_told_apart(bench: Bench) -> None:
    unpriced = Counters(prompt_tokens=3, completion_tokens=4, unpriced_requests=1)
    for number in range(3):
        bench.settle(settlement(f"priced{number}", cost=100), NOON)
        bench.settle(settlement(f"unpriced{number}", counters=unpriced), NOON)
    of_key = {"requests": 6, "prompt_tokens": 18, "completion_tokens": 24, "cost_nanousd": 300}
    assert counters_of(bench, DAY) == counters_of(bench, MONTH) == of_key
    for name in (OF_DAY, OF_HOUR):
        assert counters_of(bench, name, DIMENSIONS) == of_key | {"unpriced_requests": 3}


@pytest.mark.parametrize("text", ["1.5", "1e3", "0x10", "007", " 7", "seven", "", str(2**63 - 1)])
@pytest.mark.parametrize("name", [OF_DAY, OF_HOUR, DAY, MONTH])
def test_what_is_no_number_is_not_added_to(bench: Bench, name: str, text: str) -> None:
    prefix = DIMENSIONS if name in (OF_DAY, OF_HOUR) else ""
    whole = {f"{prefix}{field}": "5" for field in OF_KEY} | {f"{prefix}prompt_tokens": text}
    bench.one("HSET", name, *(each for pair in whole.items() for each in pair))
    with pytest.raises(hiredis.ReplyError, match=r"hash value is not an integer|would overflow"):
        bench.settle(settlement(cost=9), NOON)
    assert bench.hash(name)[f"{prefix}prompt_tokens"] == text


@pytest.mark.parametrize("cost", [0, 5])
def test_counters_live_from_their_first_call_on(bench: Bench, cost: int) -> None:
    lives = {OF_HOUR: 400 * DAY_MS, DAY: 4 * DAY_MS, MONTH: 64 * DAY_MS}
    bench.settle(settlement("r1", cost=cost), NOON)
    for name, life in lives.items():
        assert life - 60_000 < bench.one("PTTL", name) <= life
    for name in lives:
        bench.one("PEXPIRE", name, 100_000)
    bench.settle(settlement("r2", cost=cost), NOON)
    for name in lives:
        assert 0 < bench.one("PTTL", name) <= 100_000
    assert bench.one("PTTL", OF_DAY) == -1


def test_a_day_ahead_of_the_clock_lives_from_then_on(bench: Bench) -> None:
    bench.settle(settlement(), NOON - 10 * DAY_MS)
    assert 13 * DAY_MS < bench.one("PTTL", DAY) <= 14 * DAY_MS
    assert 73 * DAY_MS < bench.one("PTTL", MONTH) <= 74 * DAY_MS


def test_a_correction_of_an_expired_day_expires_too(bench: Bench) -> None:
    bench.settle(settlement(state="estimated", cost=5), NOON)
    bench.one("DEL", DAY, MONTH)
    bench.settle(settlement(cost=7), NOON)
    assert bench.hash(DAY) == {
        "requests": "0",
        "prompt_tokens": "0",
        "completion_tokens": "0",
        "cost_nanousd": "2",
    }
    assert bench.one("PTTL", DAY) > 0
    assert bench.one("PTTL", MONTH) > 0


def test_what_is_held_of_an_expired_day_leaves_nothing(bench: Bench) -> None:
    bench.new_key(KEY)
    asked = admission(bound_nanousd=50, budget=Budget(100, "month"))
    bench.admit(asked, NOON)
    for name, life in ((DAY, 4 * DAY_MS), (MONTH, 64 * DAY_MS)):
        assert bench.hash(name) == {"held": "50"}
        assert life - 60_000 < bench.one("PTTL", name) <= life
    bench.one("DEL", DAY)
    bench.one("HSET", MONTH, "held", 20)  # less than the call has held
    bench.settle(settlement(state="withdrawn", counters=Counters(requests=0)), NOON)
    assert bench.one("EXISTS", DAY) == 0
    assert int(bench.hash(MONTH).get("held", 0)) == 0
    assert int(bench.hash(ACCOUNT)["held"]) == 0


def test_buckets_live_while_they_are_used(bench: Bench) -> None:
    """Not each admission prolongs their life, but each can rely on two minutes of it."""
    bench.new_key(KEY)
    limits, bounds = keys.key_limits(KEY), Bounds(rpm=60, tpm=6000, concurrency=50)

    def left_after(request_id: str, at: int) -> int:
        bench.admit(admission(request_id, bounds=bounds), at)
        left: int = bench.one("PTTL", limits)
        return left

    assert 140_000 < left_after("r1", NOON) <= 150_000
    bench.one("PEXPIRE", limits, 121_000)  # as it were 29 s later
    assert left_after("r2", NOON + LEASE_MS - 1_000) <= 121_000
    bench.one("PEXPIRE", limits, 120_000)
    assert 140_000 < left_after("r3", NOON + LEASE_MS) <= 150_000

    bench.one("PEXPIRE", limits, 100_000)
    ended = settlement("r1", admitted_ms=NOON, tokens_actual=3000, tpm=6000)
    bench.settle(ended, NOON + LEASE_MS)
    assert bench.one("PTTL", limits) <= 100_000  # it has drained by then
    debt = settlement("r2", admitted_ms=NOON, tokens_actual=60_000, tpm=6000)
    bench.settle(debt, NOON + LEASE_MS)
    assert bench.one("PTTL", limits) > 600_000
    bench.one("DEL", limits)
    bench.settle(settlement("r3", admitted_ms=NOON, tokens_actual=3000, tpm=6000), NOON + LEASE_MS)
    assert 140_000 < bench.one("PTTL", limits) <= 150_000


@settings(max_examples=300, deadline=None, database=None)
@given(st.integers(0, 13_000_000_000_000))  # until 2381
def test_a_call_counts_to_the_hour_of_its_admission(standing_bench: Bench, admitted_ms: int) -> None:
    bench = standing_bench
    bench.one("FLUSHALL", "SYNC")
    bench.settle(settlement(cost=1, admitted_ms=admitted_ms), admitted_ms)
    hour = datetime.fromtimestamp(admitted_ms / 1000, UTC).strftime("%Y%m%d%H")
    assert dict(bench.hashes(f"*{hour[:4]}*")).keys() == {
        keys.usage_of_day(SHARD, hour[:8]),
        keys.usage_of_hour(SHARD, hour),
        keys.key_period(KEY, hour[:8]),
        keys.key_period(KEY, hour[:6]),
    }
