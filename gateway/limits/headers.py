"""What callers are told of their limits, in headers that official SDKs understand.

`x-ratelimit-*` as the official API sends them: `reset` is the time until the whole limit is back, as a Go
duration, not the time until the next call may work. That one is `retry-after`.
"""

from __future__ import annotations

from gateway.limits.values import Admitted, Refused

Headers = list[tuple[bytes, bytes]]

_REQUESTS, _TOKENS = (
    b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n"
    % (dimension, dimension, dimension)
    for dimension in (b"requests", b"tokens")
)

MS_PER_SECOND, MS_PER_MINUTE, MS_PER_HOUR = 1000, 60_000, 3_600_000


def go_duration(ms: int) -> str:
    """A duration as Go prints it: `0s`, `12ms`, `1.5s`, `6m0s`, `1h2m3.5s`."""
    if 0 < ms < MS_PER_SECOND:
        return f"{ms}ms"
    hours, ms = divmod(ms, MS_PER_HOUR)
    minutes, ms = divmod(ms, MS_PER_MINUTE)
    seconds, ms = divmod(ms, MS_PER_SECOND)
    text = f"{seconds}.{ms:03d}".rstrip("0") + "s" if ms else f"{seconds}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def limit_lines(verdict: Admitted | Refused) -> bytes:
    """`x-ratelimit-*` after this call, as lines of a head; none for what is unlimited."""
    rpm, tpm = verdict.rpm, verdict.tpm
    lines = b""
    if rpm is not None:
        lines = _REQUESTS % (rpm.limit, rpm.remaining, go_duration(rpm.reset_ms).encode())
    if tpm is not None:
        lines += _TOKENS % (tpm.limit, tpm.remaining, go_duration(tpm.reset_ms).encode())
    return lines


def retry_headers(retry_after_ms: int | None) -> Headers:
    """When to try again. None: never, and SDKs would try all the same if they were not told so."""
    if retry_after_ms is None:
        return [(b"x-should-retry", b"false")]
    seconds = max(1, -(-retry_after_ms // MS_PER_SECOND))
    return [(b"retry-after", b"%d" % seconds), (b"retry-after-ms", b"%d" % max(1, retry_after_ms))]
