from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.bucket import MAX_LEVEL, UNIT
from gateway.limits.headers import LimitLines, go_duration, limit_lines, retry_headers
from gateway.limits.values import UNLIMITED, Admitted, Bounds, Refused, Window
from gateway.limits.verdict import Levels, admitted

UNITS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1500, "1.5s"),
        (1001, "1.001s"),
        (59_999, "59.999s"),
        (60_000, "1m0s"),
        (360_000, "6m0s"),
        (90_010, "1m30.01s"),
        (3_600_000, "1h0m0s"),
        (3_723_500, "1h2m3.5s"),
        (360_000_000, "100h0m0s"),
    ],
)
def test_durations_as_go_prints_them(ms: int, text: str) -> None:
    assert go_duration(ms) == text


@given(st.integers(0, 10**13))
def test_a_duration_reads_as_what_it_was(ms: int) -> None:
    text = go_duration(ms)
    parts = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
    assert "".join(map("".join, parts)) == text
    assert sum(round(float(number) * UNITS[unit]) for number, unit in parts) == ms


def test_what_is_unlimited_has_no_headers() -> None:
    admitted = Admitted(at_ms=0, rpm=None, tpm=Window(1000, 0, 102_000), in_use=1)
    assert limit_lines(admitted) == (
        b"x-ratelimit-limit-tokens: 1000\r\n"
        b"x-ratelimit-remaining-tokens: 0\r\n"
        b"x-ratelimit-reset-tokens: 1m42s\r\n"
    )
    assert limit_lines(Admitted(at_ms=0, rpm=None, tpm=None, in_use=1)) == b""


def test_refusals_tell_every_limit() -> None:
    refused = Refused(
        reason="concurrency",
        limit=1,
        remaining=0,
        asked=1,
        retry_after_ms=1000,
        at_ms=0,
        rpm=Window(6, 5, 10_000),
        tpm=Window(1000, 1000, 0),
    )
    assert limit_lines(refused).decode().splitlines() == [
        "x-ratelimit-limit-requests: 6",
        "x-ratelimit-remaining-requests: 5",
        "x-ratelimit-reset-requests: 10s",
        "x-ratelimit-limit-tokens: 1000",
        "x-ratelimit-remaining-tokens: 1000",
        "x-ratelimit-reset-tokens: 0s",
    ]


limits = st.none() | st.just(UNLIMITED) | st.integers(1, 2_000_000_000)


@given(limits, limits, st.data())
def test_kept_lines_say_what_those_of_a_verdict_do(
    rpm: int | None, tpm: int | None, data: st.DataObject
) -> None:
    full = [min((limit or 0) * UNIT, MAX_LEVEL) for limit in (rpm, tpm)]
    levels = [data.draw(st.integers(0, most) | st.integers(0, MAX_LEVEL)) for most in full]
    told = admitted(Bounds(rpm, tpm), Levels(0, *levels, 1))
    kept = LimitLines(rpm, tpm).after(*levels)
    assert kept == limit_lines(told)


def test_of_nothing_nothing_is_left() -> None:
    assert LimitLines(None, 0).after(0, 0) == limit_lines(admitted(Bounds(tpm=0), Levels(0, 0, 0, 0)))


@pytest.mark.parametrize(
    ("ms", "seconds", "exact"),
    [
        (0, b"1", b"1"),
        (1, b"1", b"1"),
        (1000, b"1", b"1000"),
        (1001, b"2", b"1001"),
        (59_001, b"60", b"59001"),
    ],
)
def test_seconds_are_rounded_up(ms: int, seconds: bytes, exact: bytes) -> None:
    assert retry_headers(ms) == [(b"retry-after", seconds), (b"retry-after-ms", exact)]


def test_where_waiting_does_not_help_clients_are_told_so() -> None:
    assert retry_headers(None) == [(b"x-should-retry", b"false")]
