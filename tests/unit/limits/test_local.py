"""The limits of one process: its share, and nothing of a call left when it has ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.local import FIRST_CLEANING, LocalLimiter
from gateway.limits.values import UNLIMITED, Admission, Admitted, Bounds, Refused

NOON = 1_795_435_200_000


class Clock:
    now = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> LocalLimiter:
    return LocalLimiter(clock)


def asked(request_id: str, tokens: int = 0, key_id: str = "07k", **bounds: Any) -> Admission:
    return Admission(
        request_id=request_id,
        key_id=key_id,
        revision=1,
        process="p",
        bounds=Bounds(**bounds),
        tokens=tokens,
    )


def fire(limiter: LocalLimiter, calls: int, name: str = "r", **given: Any) -> int:
    """So many calls; returns how many were admitted."""
    verdicts = [limiter.admit(asked(f"{name}{number}", **given)) for number in range(calls)]
    return sum(isinstance(verdict, Admitted) for verdict in verdicts)


def reason(limiter: LocalLimiter, admission: Admission) -> str | None:
    verdict = limiter.admit(admission)
    return verdict.reason if isinstance(verdict, Refused) else None


@pytest.mark.parametrize(("processes", "share"), [(1, 8), (2, 4), (3, 2), (8, 1), (100, 1)])
@pytest.mark.parametrize("bound", ["rpm", "concurrency", "tpm"])
def test_a_process_gives_out_its_share(limiter: LocalLimiter, bound: str, processes: int, share: int) -> None:
    limiter.processes = processes
    assert fire(limiter, 20, tokens=1, **{bound: 8}) == share


@pytest.mark.parametrize("bound", ["rpm", "concurrency", "tpm"])
@pytest.mark.parametrize(("limit", "admitted"), [(0, 0), (None, 20), (UNLIMITED, 20)])
def test_none_stays_none_and_unlimited_unlimited(
    limiter: LocalLimiter, bound: str, limit: int | None, admitted: int
) -> None:
    limiter.processes = 4
    assert fire(limiter, 20, tokens=1, **{bound: limit}) == admitted


def test_a_minute_gives_the_share_again(limiter: LocalLimiter, clock: Clock) -> None:
    limiter.processes = 2
    assert fire(limiter, 9, "a", rpm=12) == 6
    clock.now += 10_000
    assert fire(limiter, 9, "b", rpm=12) == 1
    clock.now += 60_000
    assert fire(limiter, 9, "c", rpm=12) == 6


def test_a_share_that_changes_keeps_what_was_used(limiter: LocalLimiter) -> None:
    limiter.processes = 4
    assert fire(limiter, 9, "a", rpm=12) == 3
    limiter.processes = 2
    assert fire(limiter, 9, "b", rpm=12) == 3
    limiter.processes = 6
    assert fire(limiter, 9, "c", rpm=12) == 0


def test_a_call_that_ends_makes_room_and_puts_its_tokens_right(limiter: LocalLimiter) -> None:
    assert fire(limiter, 3, tokens=400, tpm=1000, concurrency=2) == 2
    assert reason(limiter, asked("x", 100, tpm=1000, concurrency=2)) == "concurrency"
    limiter.settle("r0", 900)
    refused = limiter.admit(asked("x", 100, tpm=1000, concurrency=2))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.tpm and refused.tpm.remaining) == ("tokens", 0)
    limiter.settle("r1", 0)
    verdict = limiter.admit(asked("x", 100, tpm=1000, concurrency=2))
    assert isinstance(verdict, Admitted)
    assert (verdict.in_use, verdict.tpm and verdict.tpm.remaining) == (1, 0)


def test_nothing_is_taken_twice_nor_given_back_twice(limiter: LocalLimiter) -> None:
    for _ in range(3):
        assert fire(limiter, 1, tokens=300, rpm=5, tpm=1000) == 1
    verdict = limiter.admit(asked("r0", 300, rpm=5, tpm=1000))
    assert isinstance(verdict, Admitted)
    assert verdict.rpm is not None
    assert verdict.tpm is not None
    assert (verdict.in_use, verdict.rpm.remaining, verdict.tpm.remaining) == (1, 4, 700)
    for _ in range(3):
        limiter.settle("r0", 0)
    limiter.settle("never admitted", 10**6)
    verdict = limiter.admit(asked("r1", 1000, rpm=5, tpm=1000))
    assert isinstance(verdict, Admitted)
    assert verdict.in_use == 1


def test_a_call_without_a_limit_on_tokens_moves_no_bucket(limiter: LocalLimiter) -> None:
    assert fire(limiter, 1, "limited", tokens=1000, tpm=1000) == 1
    assert fire(limiter, 1, "free", tokens=1000) == 1
    limiter.settle("free0", 0)
    assert reason(limiter, asked("x", 1, tpm=1000)) == "tokens"


def test_where_the_clock_went_back_buckets_drain_from_there(limiter: LocalLimiter, clock: Clock) -> None:
    assert fire(limiter, 9, "a", rpm=6) == 6
    clock.now -= 3_600_000
    assert fire(limiter, 9, "b", rpm=6) == 0
    clock.now += 10_000
    assert fire(limiter, 9, "c", rpm=6) == 1


def test_keys_do_not_share_and_idle_ones_are_forgotten(limiter: LocalLimiter, clock: Clock) -> None:
    for number in range(FIRST_CLEANING):
        assert fire(limiter, 2, f"r{number}-", key_id=f"07k{number}", rpm=1) == 1
        limiter.settle(f"r{number}-0", 0)
    clock.now += 60_000
    assert fire(limiter, 1, "open", key_id="07open", concurrency=1) == 1
    assert len(limiter._keys) == 1
    for number in range(FIRST_CLEANING):
        fire(limiter, 1, f"s{number}-", key_id=f"08k{number}", rpm=1)
    assert reason(limiter, asked("x", key_id="07open", concurrency=1)) == "concurrency"


@given(
    st.integers(1, 60),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 11)), max_size=150),
)
def test_processes_together_keep_what_the_docs_say(
    limit: int, processes: int, calls: list[tuple[int, int]]
) -> None:
    """At most k x (1 + t), or w x (1 + t) where there are more workers than k."""
    clock = Clock()
    limiters = [LocalLimiter(clock) for _ in range(processes)]
    for each in limiters:
        each.processes = processes
    admitted = 0
    for number, (pause, which) in enumerate(calls):
        clock.now += pause
        verdict = limiters[which % processes].admit(asked(f"r{number}", rpm=limit))
        admitted += isinstance(verdict, Admitted)
        assert admitted * 60_000 <= max(limit, processes) * (60_000 + clock.now - NOON)
