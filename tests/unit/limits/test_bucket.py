"""The leaky bucket against fractions, and what a changed limit does to it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.bucket import MAX_LEVEL, UNIT, Bucket, fits, settled, wait_ms, window
from gateway.limits.values import UNLIMITED, Window

limits = st.integers(1, 100) | st.integers(1, UNLIMITED - 1)
times = st.integers(0, 100_000)
levels = st.integers(0, 10**7) | st.integers(0, MAX_LEVEL)


@given(levels, times, times, limits)
def test_it_drains_its_limit_in_each_minute(level: int, then: int, now: int, limit: int) -> None:
    used = Fraction(level, UNIT) - Fraction(max(0, now - then) * limit, 60_000)
    assert Fraction(Bucket(level, then, limit).level_at(now, limit), UNIT) == max(0, used)


@given(levels, limits, st.integers(0, UNLIMITED))
def test_what_is_told_to_wait_fits_then_and_not_before(level: int, limit: int, cost: int) -> None:
    wait = wait_ms(level, cost, limit)
    if wait is None:
        assert cost > limit
        return
    bucket = Bucket(level, 0, limit)
    assert fits(bucket.level_at(wait, limit), cost, limit)
    assert wait == 0 or not fits(bucket.level_at(wait - 1, limit), cost, limit)


@given(levels, limits)
def test_a_window_is_back_at_its_reset(level: int, limit: int) -> None:
    told = window(level, limit)
    bucket = Bucket(level, 0, limit)
    assert bucket.level_at(told.reset_ms, limit) == 0
    assert told.reset_ms == 0 or bucket.level_at(told.reset_ms - 1, limit) > 0
    assert told.limit == limit
    assert told.remaining == max(0, (Fraction(limit) - Fraction(level, UNIT)).__floor__())


def test_a_limit_of_none_at_all() -> None:
    assert window(0, 0) == Window(0, 0, 0)
    assert wait_ms(0, 1, 0) is None


@pytest.mark.parametrize(
    ("before", "used", "after", "stays"),
    [
        (2, 2, 100, 2),
        (100, 4, 10, 4),
        (100, 10, 10, 10),
        (100, 80, 10, 10),
        (100, 100, 10, 10),
        (1000, 3000, 2000, 3000),
        (1000, 3000, 100, 300),
    ],
)
def test_under_another_limit_what_was_used_stays_used(before: int, used: int, after: int, stays: int) -> None:
    assert Bucket(used * UNIT, 0, before).level_at(0, after) == stays * UNIT


@given(levels, limits, limits)
def test_no_change_of_a_limit_makes_a_caller_wait_longer(level: int, before: int, after: int) -> None:
    """Neither the level nor the time of a debt grows; within the new limit the level is what it was."""
    changed = Bucket(level, 0, before).level_at(0, after)
    assert changed <= level
    if level <= after * UNIT or after > before:
        assert changed == level
    elif level <= before * UNIT:
        assert changed == after * UNIT
    else:
        exact = Fraction(level, before) * after
        assert abs(changed - exact) <= 1 + exact / 10**15  # floats, as the script has them
    assert changed >= min(level, after * UNIT)


@given(st.integers(1, 60), st.integers(1, 60), st.lists(st.integers(0, 20_000), max_size=200), st.data())
def test_across_a_change_of_limit_callers_get_what_is_theirs_and_no_more(
    before: int, after: int, pauses: list[int], data: st.DataObject
) -> None:
    """Counted anew, without buckets: spans of any length, and the calls of the last minute."""
    change_at = data.draw(st.integers(0, len(pauses)))
    bucket, now, changed_at = Bucket(0, 0, before), 0, None
    admitted: list[int] = []
    for number, pause in enumerate(pauses):
        now += pause
        limit = before if number < change_at else after
        if number == change_at:
            changed_at = now
        level = bucket.level_at(now, limit)
        is_admitted = fits(level, 1, limit)
        bucket = Bucket(level + UNIT * is_admitted, now, limit)
        if is_admitted:
            admitted.append(now)
        elif changed_at is None or now >= changed_at + 60_000 or after >= before:
            last_minute = sum(at > now - 60_000 for at in admitted)
            assert last_minute >= limit, "refused under the limit"
    if changed_at is None:
        return
    for number, start in enumerate(admitted):
        # a span of any length that ends after the change, and, where the limit fell, begins after it
        if after >= before or start >= changed_at:
            for count, end in enumerate(admitted[number:], start=1):
                most = max(before, after) if end < changed_at else after
                assert count <= most + Fraction((end - start) * most, 60_000), "more than the limit"


def test_settling_moves_the_level_and_stays_within_bounds() -> None:
    assert settled(5 * UNIT, -3) == 2 * UNIT
    assert settled(5 * UNIT, -9) == 0
    assert settled(0, UNLIMITED) == UNLIMITED * UNIT
    assert settled(MAX_LEVEL, 1) == MAX_LEVEL
