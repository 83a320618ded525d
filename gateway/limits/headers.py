"""What callers are told of their limits, in headers that official SDKs understand.

`x-ratelimit-*` as the official API sends them: `reset` is the time until the whole limit is back, as a Go
duration, not the time until the next call may work. That one is `retry-after`.
"""

from __future__ import annotations

from gateway.limits.bucket import UNIT
from gateway.limits.values import UNLIMITED, Admitted, Refused, Window

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

    __slots__ = ("_both_in_ms", "_requests", "_tokens")

    def __init__(self, rpm: int | None, tpm: int | None) -> None:
        self._requests = _Lines(b"requests", rpm)
        self._tokens = _Lines(b"tokens", tpm)
        self._both_in_ms = (self._requests.form + self._tokens.form).replace(b"%b", b"%dms")

    def after(self, rpm: int, tpm: int) -> bytes:
        """What is left with the buckets at these levels, and when all of it is back, as a `Window` has it."""
        requests, tokens = self._requests, self._tokens
        if requests.form and tokens.form:  # and both are back in a moment: one form for all
            requests_ms, tokens_ms = -(-rpm // requests.limit), -(-tpm // tokens.limit)
            if 0 < requests_ms < MS_PER_SECOND and 0 < tokens_ms < MS_PER_SECOND:
                requests_left = (requests.full - rpm) // UNIT if rpm < requests.full else 0
                tokens_left = (tokens.full - tpm) // UNIT if tpm < tokens.full else 0
                return self._both_in_ms % (requests_left, requests_ms, tokens_left, tokens_ms)
        return requests.after(rpm) + tokens.after(tpm)


class _Lines:
    """The same of one limit."""

    __slots__ = ("form", "full", "limit")

    def __init__(self, name: bytes, limit: int | None) -> None:
        self.form = b"" if limit is None or limit >= UNLIMITED else _form(name, limit)
        self.full = limit * UNIT if limit else 0
        self.limit = limit or 1  # nothing is ever in the bucket of a limit of 0

    def after(self, level: int) -> bytes:
        if not self.form:
            return b""
        back_ms = -(-level // self.limit)
        left = (self.full - level) // UNIT if level < self.full else 0
        return self.form % (left, go_duration(back_ms).encode())


def limit_lines(verdict: Admitted | Refused) -> bytes:
    """`x-ratelimit-*` after this call, as lines of a head; none for what is unlimited."""
    return _lines(b"requests", verdict.rpm) + _lines(b"tokens", verdict.tpm)


def _lines(name: bytes, window: Window | None) -> bytes:
    if window is None:
        return b""
    return _form(name, window.limit) % (window.remaining, go_duration(window.reset_ms).encode())


def _form(name: bytes, limit: int) -> bytes:
    """Without what is left, and when all of it is back."""
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % (
        name,
        limit,
        name,
        name,
    )


def retry_headers(retry_after_ms: int | None) -> Headers:
    """When to try again. None: never, and SDKs would try all the same if they were not told so."""
    if retry_after_ms is None:
        return [(b"x-should-retry", b"false")]
    seconds = max(1, -(-retry_after_ms // MS_PER_SECOND))
    return [(b"retry-after", b"%d" % seconds), (b"retry-after-ms", b"%d" % max(1, retry_after_ms))]
