from __future__ import annotations

import pytest

from gateway.upstream.rate_headers import reset_s, wait_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"12ms", 0.012),
        (b"1s", 1),
        (b"6m0s", 360),
        (b"1h2m3.5s", 3723.5),
        (b"25", 25),
        (b" 7 ", 7),
        (b"1.5", 1.5),
        *((unknown, None) for unknown in (b"0", b"-1", b"", None, b"0s", b"soon", b"inf", b"nan", b"1s 2s")),
    ],
)
def test_a_reset(value: bytes | None, seconds: float | None) -> None:
    assert reset_s(value) == (None if seconds is None else pytest.approx(seconds))


class _Head:
    def __init__(self, **headers: str) -> None:
        self._headers = {
            f"x-ratelimit-{name.replace('_', '-')}".encode(): v.encode() for name, v in headers.items()
        }

    def header(self, name: bytes) -> bytes | None:
        return self._headers.get(name)


@pytest.mark.parametrize(
    ("head", "seconds"),
    [
        (_Head(), None),
        (_Head(remaining_tokens="0", reset_tokens="25"), 25),
        (_Head(remaining_tokens="3", reset_tokens="25"), None),
        (_Head(remaining_tokens="-1", reset_tokens="25"), None),
        (_Head(remaining_tokens="0", reset_tokens="-1"), None),
        (_Head(remaining_tokens="0", reset_tokens="2", remaining_requests="0", reset_requests="5s"), 5),
    ],
)
def test_only_empty_buckets_are_waited_for(head: _Head, seconds: float | None) -> None:
    assert wait_s(head) == seconds
