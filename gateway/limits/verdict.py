"""Verdicts from levels: what an admission is told, whoever counted."""

from __future__ import annotations

import msgspec

from gateway.limits.bucket import wait_ms, window
from gateway.limits.values import UNLIMITED, Admission, Admitted, Bounds, Reason, Refused, Window

CONCURRENCY_RETRY_MS = 1000
"""When to try again after too many calls at once: nobody knows when one ends, and callers count seconds."""


class Levels(msgspec.Struct, frozen=True):
    """How full a key's bounds are at `at_ms`: levels of the two buckets, and calls at once."""

    at_ms: int
    rpm: int
    tpm: int
    in_use: int


def admitted(
    bounds: Bounds, levels: Levels, *, budget_nanousd: int | None = None, credit_nanousd: int | None = None
) -> Admitted:
    """The call may run; `levels` are those after it."""
    rpm, tpm = bounds.rpm, bounds.tpm
    return Admitted(
        at_ms=levels.at_ms,
        rpm=None if rpm is None or rpm >= UNLIMITED else window(levels.rpm, rpm),
        tpm=None if tpm is None or tpm >= UNLIMITED else window(levels.tpm, tpm),
        in_use=levels.in_use,
        budget_nanousd=budget_nanousd,
        credit_nanousd=credit_nanousd,
    )


def refused(
    reason: Reason, admission: Admission, bounds: Bounds, levels: Levels, money_nanousd: int = 0
) -> Refused:
    """The call may not run. `money_nanousd` is what is left of the bound, where that is money."""
    rpm, tpm = window_of(bounds.rpm, levels.rpm), window_of(bounds.tpm, levels.tpm)
    limit, remaining, asked, retry_after_ms = 0, max(0, money_nanousd), admission.bound_nanousd or 0, None
    match reason:
        case "requests" if rpm is not None:
            limit, remaining, asked = rpm.limit, rpm.remaining, 1
            retry_after_ms = wait_ms(levels.rpm, asked, limit)
        case "tokens" if tpm is not None:
            limit, remaining, asked = tpm.limit, tpm.remaining, admission.tokens
            retry_after_ms = wait_ms(levels.tpm, asked, limit)
        case "concurrency" if bounds.concurrency is not None:
            limit, asked = bounds.concurrency, 1
            remaining = max(0, limit - levels.in_use)
            retry_after_ms = CONCURRENCY_RETRY_MS if limit else None
        case "budget" if admission.budget is not None:
            limit = admission.budget.limit_nanousd
    return Refused(
        reason=reason,
        limit=limit,
        remaining=remaining,
        asked=asked,
        retry_after_ms=retry_after_ms,
        at_ms=levels.at_ms,
        rpm=rpm,
        tpm=tpm,
    )


def window_of(limit: int | None, level: int) -> Window | None:
    """The window of a limit; None where it is unlimited."""
    return None if limit is None or limit >= UNLIMITED else window(level, limit)
