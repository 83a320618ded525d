"""A refusal in words, close to those of the official API."""

from __future__ import annotations

from gateway.limits.headers import go_duration
from gateway.limits.values import Refused

_BOUNDS = {
    "requests": "requests per min (RPM)",
    "tokens": "tokens per min (TPM)",
    "concurrency": "calls at once",
}


def refusal_text(refused: Refused) -> str:
    """Which bound does not allow the call, what is left of it, and what to do. Safe to send to the caller."""
    limit, remaining, asked = refused.limit, refused.remaining, refused.asked
    if refused.reason in ("budget", "credit"):
        left = (
            f"{usd(remaining)} of {usd(limit)} are" if refused.reason == "budget" else f"{usd(remaining)} is"
        )
        return (
            f"The {refused.reason} of this key does not cover this call: it may cost up to {usd(asked)}, and "
            f"{left} left. A lower max_tokens lowers what a call may cost."
        )
    of = _BOUNDS[refused.reason]
    if limit == 0:
        return f"This key may make no calls: its limit on {of} is 0."
    if refused.retry_after_ms is None:
        return (
            f"Request too large for this key on {of}: Limit {limit}, Requested {asked}. "
            "The prompt or max_tokens must be smaller."
        )
    used = limit - remaining
    return (
        f"Rate limit reached for this key on {of}: Limit {limit}, Used {used}, Requested {asked}. "
        f"Please try again in {go_duration(refused.retry_after_ms)}."
    )


def usd(nanousd: int) -> str:
    """An amount of nano-dollars for people: `$1.5`, `$0.000012`."""
    dollars, nano = divmod(nanousd, 10**9)
    return f"${dollars}.{nano:09d}".rstrip("0").rstrip(".")
