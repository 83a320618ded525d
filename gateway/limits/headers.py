"""What callers are told of their limits, in headers that official SDKs understand.

`x-ratelimit-*` as the official API sends them: `reset` is the time until the whole limit is back, as a Go
duration, not the time until the next call may work. That one is `retry-after`.
"""

from __future__ import annotations

import msgspec

from gateway.limits.bucket import UNIT
from gateway.limits.values import UNLIMITED, Admitted, Refused, Window

_encode = msgspec.json.Encoder().encode  # of numbers, too: half the time of %d

Headers = list[tuple[bytes, bytes]]

MS_PER_SECOND, MS_PER_MINUTE, MS_PER_HOUR = 1000, 60_000, 3_600_000


def go_duration(ms: int) -> str:
    """A duration as Go prints it: `0s`, `12ms`, `1.5s`, `6m0s`, `1h2m3.5s`."""
    if ms < MS_PER_MINUTE:
        return f"{ms}ms" if 0 < ms < MS_PER_SECOND else f"{ms / MS_PER_SECOND:g}s"
    hours, ms = divmod(ms, MS_PER_HOUR)
    minutes, ms = divmod(ms, MS_PER_MINUTE)
    seconds, ms = divmod(ms, MS_PER_SECOND)
    text = f"{seconds}.{ms:03d}".rstrip("0") + "s" if ms else f"{seconds}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


class LimitLines:
    """`x-ratelimit-*` of a key, as lines of a head; none for what is unlimited.

    What is the same after each call is put together once.

    Args:
        rpm, tpm: requests and tokens a minute.
    """

    __slots__ = ("_requests", "_tokens")

    def __init__(self, rpm: int | None, tpm: int | None) -> None:
        self._requests = None if rpm is None or rpm >= UNLIMITED else _lines_of(b"requests", rpm)
        self._tokens = None if tpm is None or tpm >= UNLIMITED else _lines_of(b"tokens", tpm)

    def after(self, rpm: int, tpm: int) -> bytes:
        """What is left with the buckets at these levels, and when all of it is back, as a `Window` has it."""
        requests, tokens = self._requests, self._tokens
        if requests is None:
            return b"" if tokens is None else _after(tokens, tpm)
        if tokens is None:
            return _after(requests, rpm)
        # Nearly all keys have both. The same as `_after` of each, which would take half as long again.
        before_rpm, before_rpm_back, rpm_full, rpm_limit = requests
        before_tpm, before_tpm_back, tpm_full, tpm_limit = tokens
        rpm_back_ms, tpm_back_ms = -(-rpm // rpm_limit), -(-tpm // tpm_limit)
        return b"".join(
            (
                before_rpm,
                _encode((rpm_full - rpm) // UNIT if rpm < rpm_full else 0),
                before_rpm_back,
                _SOON[rpm_back_ms] if rpm_back_ms < MS_PER_SECOND else _duration(rpm_back_ms),
                before_tpm,
                _encode((tpm_full - tpm) // UNIT if tpm < tpm_full else 0),
                before_tpm_back,
                _SOON[tpm_back_ms] if tpm_back_ms < MS_PER_SECOND else _duration(tpm_back_ms),
            )
        )


_Lines = tuple[bytes, bytes, int, int]
"""Of one limit: what comes before what is left, what before the time when all is back; full bucket; limit."""


def _lines_of(name: bytes, limit: int) -> _Lines:
    before_left, before_back = _form(name, limit)
    return before_left, before_back, limit * UNIT, limit or 1  # nothing is ever in the bucket of a limit of 0


def _after(lines: _Lines, level: int) -> bytes:
    before_left, before_back, full, limit = lines
    left = (full - level) // UNIT if level < full else 0
    return b"".join((before_left, _encode(left), before_back, _duration(-(-level // limit))))


def limit_lines(verdict: Admitted | Refused) -> bytes:
    """`x-ratelimit-*` after this call, as lines of a head; none for what is unlimited."""
    return _lines(b"requests", verdict.rpm) + _lines(b"tokens", verdict.tpm)


def _lines(name: bytes, window: Window | None) -> bytes:
    if window is None:
        return b""
    before_left, before_back = _form(name, window.limit)
    return before_left + _encode(window.remaining) + before_back + _duration(window.reset_ms)


def _form(name: bytes, limit: int) -> tuple[bytes, bytes]:
    """What comes before what is left, and before the time when all of it is back."""
    before_left = b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: " % (name, limit, name)
    return before_left, b"\r\nx-ratelimit-reset-%b: " % name


def _duration(ms: int) -> bytes:
    """A duration and the end of its line."""
    return go_duration(ms).encode() + b"\r\n"


_SOON = [_duration(ms) for ms in range(MS_PER_SECOND)]
"""Durations below a second, as nearly all are."""


def retry_headers(retry_after_ms: int | None) -> Headers:
    """When to try again. None: never, and SDKs would try all the same if they were not told so."""
    if retry_after_ms is None:
        return [(b"x-should-retry", b"false")]
    seconds = max(1, -(-retry_after_ms // MS_PER_SECOND))
    return [(b"retry-after", b"%d" % seconds), (b"retry-after-ms", b"%d" % max(1, retry_after_ms))]
