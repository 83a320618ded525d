"""What is asked of the limits and what they answer.

A call is admitted by an `Admission`: `Admitted`, `Refused`, or `STALE` where the key has changed meanwhile.
An admitted one is an open reservation until its one `Settlement`. Tokens and requests are integers, money is
an integer of nano-dollars, times are milliseconds of the store's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Literal

import msgspec

UNLIMITED = 1_000_000_000
"""A limit of this size or more is none. So that 60,000 times a limit is an exact number in Lua."""

MAX_NANOUSD = 9_000_000 * 10**9
"""The largest amount of money: sums of it are still exact in Lua."""

LEASE_MS = 30_000
"""How long a reservation and a count of calls live unless their process renews them."""

_SEPARATOR = "\x1f"

Period = Literal["day", "month", "total"]
Reason = Literal["requests", "tokens", "concurrency", "budget", "credit"]
State = Literal["exact", "estimated", "released", "orphaned", "withdrawn"]
SettlementResult = Literal["stored", "duplicate", "corrected", "absent"]

SETTLEMENT_RESULTS: tuple[SettlementResult, ...] = ("absent", "stored", "duplicate", "corrected")
"""What the store answers a settlement, by its number."""


class Bounds(msgspec.Struct, frozen=True, cache_hash=True):
    """Limits of a key. None is unlimited, 0 refuses every call.

    Args:
        rpm: requests a minute.
        tpm: tokens a minute.
        concurrency: calls at once.
    """

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None

    @classmethod
    def of(cls, named: Mapping[str, int | None], default: Bounds) -> Bounds:
        """The limits that a key names, and the default for those it does not name."""
        if not named:
            return default
        return _bounds(
            named.get("rpm", default.rpm),
            named.get("tpm", default.tpm),
            named.get("concurrency", default.concurrency),
        )


class Budget(msgspec.Struct, frozen=True, cache_hash=True):
    """Money a key may spend in each UTC day, each UTC month, or at all; 0 refuses every call."""

    limit_nanousd: int
    period: Period


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """A call that asks to be admitted: all of it or nothing is taken.

    Args:
        request_id: identifies the call; the same one is never taken twice.
        revision: of the key's record as the caller knows it.
        process: identifies the process that serves, never used by another one.
        tokens: taken from the tokens a minute until the settlement knows better.
        bound_nanousd: the most that the call may cost; needed with a budget or credit, else may be None.
        has_credit: the key pays from prepaid credit.
        basis: what the record of this call must hold if its process dies; opaque here.
    """

    request_id: str
    key_id: str
    revision: int
    process: str
    bounds: Bounds
    tokens: int
    bound_nanousd: int | None = None
    budget: Budget | None = None
    has_credit: bool = False
    basis: bytes = b""


class Window(msgspec.Struct, frozen=True):
    """A limit per minute: how much is left of it now, and in how many ms it is full again."""

    limit: int
    remaining: int
    reset_ms: int


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """The call may run. Figures are those after this call; None where there is no such limit.

    Args:
        at_ms: when it was admitted: the hour, day and month that its cost counts to.
        rpm: requests a minute.
        tpm: tokens a minute.
        in_use: calls of this key at once, this one included.
        budget_nanousd: what is left of the budget with all open bounds at their worst.
        credit_nanousd: the same of the credit.
    """

    at_ms: int
    rpm: Window | None
    tpm: Window | None
    in_use: int
    budget_nanousd: int | None = None
    credit_nanousd: int | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The call may not run, and nothing was taken for it.

    Args:
        reason: the first bound that does not allow it, in the order of `Reason`.
        limit: of that bound; 0 for credit, which has none.
        remaining: of that bound.
        asked: what the call wanted of that bound.
        retry_after_ms: when it may work; None where waiting does not help: a limit of 0, more tokens than a
            minute has, budget or credit spent.
        rpm: requests a minute, whatever the reason; None is unlimited.
        tpm: tokens a minute, likewise.
    """

    reason: Reason
    limit: int
    remaining: int
    asked: int
    retry_after_ms: int | None
    at_ms: int
    rpm: Window | None
    tpm: Window | None


class Stale(Enum):
    """The type of `STALE`."""

    STALE = "stale"


STALE = Stale.STALE
"""The key's record has another revision than the admission says, or is gone. Nothing was taken."""

Verdict = Admitted | Refused | Stale


class Counters(msgspec.Struct, frozen=True):
    """What one record adds to the usage counters."""

    requests: int = 1
    errors: int = 0
    cache_hits: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanousd: int = 0
    saved_nanousd: int = 0
    unpriced_requests: int = 0


METRICS = Counters.__struct_fields__
"""The names of the counters, in the order in which they are stored."""


class Dimensions(msgspec.Struct, frozen=True, cache_hash=True):
    """What usage is counted by; "" where it is not known."""

    key: str
    alias: str = ""
    model: str = ""
    upstream: str = ""
    release: str = ""
    team: str = ""

    def joined(self) -> str:
        """How the counters name them: joined by U+001F, which therefore is none of their letters."""
        values = (self.key, self.alias, self.model, self.upstream, self.release, self.team)
        text = _SEPARATOR.join(values)
        if text.count(_SEPARATOR) == len(values) - 1:
            return text
        return _SEPARATOR.join(value.replace(_SEPARATOR, " ") for value in values)

    @classmethod
    def split(cls, text: str) -> Dimensions:
        """What `joined` made."""
        return cls(*text.split(_SEPARATOR))


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The one end of an admitted call. Complete in itself: the reservation may be lost.

    Args:
        state: as in the ledger. A record that knows more replaces one that knows less: `orphaned`, then
            `estimated` and `released`, then `exact`. `withdrawn` is no record: the call was never served
            (nobody knows whether its admission ran), whatever is held for it is given back.
        record: of the ledger, JSON.
        admitted_ms: `Admitted.at_ms`, else the time of the process; the time of the record.
        tokens_actual: what the call took of the tokens a minute.
        tpm: the key's limit, as it was admitted; None is unlimited.
        has_credit: the cost is paid from prepaid credit.
        was_reserved: False where the call was admitted without the store.
        only_if_reserved: settle only if the reservation is still open and its lease is over; for sweepers.
    """

    request_id: str
    key_id: str
    state: State
    record: bytes
    admitted_ms: int
    counters: Counters
    dimensions: Dimensions
    tokens_actual: int = 0
    tpm: int | None = None
    has_credit: bool = False
    was_reserved: bool = True
    only_if_reserved: bool = False


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What a record was counted as that a correction has replaced."""

    state: State
    admitted_ms: int
    has_credit: bool
    counters: Counters
    dimensions: Dimensions


class OpenReservation(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation whose process has not renewed it in time: as it was admitted."""

    request_id: str
    key_id: str
    process: str
    admitted_ms: int
    tokens: int
    bound_nanousd: int | None
    has_credit: bool
    basis: bytes


class UsageFigures(msgspec.Struct, frozen=True):
    """What a key used in one period."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nanousd: int = 0


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """How a key stands now.

    Args:
        at_ms: now, by the store's clock.
        in_use: calls at once.
        held_nanousd: bounds of the calls that were admitted in the period and are open.
        granted_nanousd: all credit ever granted; None where there never was any.
        credit_nanousd: what is left of it with all open bounds at their worst; None likewise.
    """

    at_ms: int
    rpm: Window | None
    tpm: Window | None
    in_use: int
    day: UsageFigures
    month: UsageFigures
    total_cost_nanousd: int
    held_nanousd: Mapping[Period, int]
    granted_nanousd: int | None
    credit_nanousd: int | None


@lru_cache(maxsize=1024)  # a few sets of limits for all keys
def _bounds(rpm: int | None, tpm: int | None, concurrency: int | None) -> Bounds:
    return Bounds(_limit(rpm), _limit(tpm), _limit(concurrency))


def _limit(value: int | None) -> int | None:
    return None if value is None or value >= UNLIMITED else value
