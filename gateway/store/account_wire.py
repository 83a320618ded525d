"""What the scripts of the accounts are told, and what their replies mean. Pure: nothing is sent here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import msgspec

from gateway.limits.bucket import Bucket
from gateway.limits.values import (
    MAX_NANOUSD,
    STALE,
    UNLIMITED,
    AccountView,
    Admission,
    Bounds,
    Counted,
    Counters,
    Dimensions,
    OpenReservation,
    Reason,
    Settlement,
    SettlementResult,
    State,
    UsageFigures,
    Verdict,
    Window,
)
from gateway.limits.verdict import Levels, admitted, refused, window_of
from gateway.store import keys
from gateway.store.client import pairs

Call = tuple[Sequence[str], Sequence[str | bytes | int]]
"""Keys and arguments of a script."""

_REASONS: tuple[Reason, ...] = ("requests", "tokens", "concurrency", "budget", "credit")
_RESULTS: tuple[SettlementResult, ...] = ("absent", "stored", "duplicate", "corrected")
_STALE, _ADMITTED = 0, 1


def admit_call(admission: Admission) -> Call:
    """What `admit.lua` is told. Raises `ValueError` where money must be held and no bound is known."""
    key_id, budget, bound = admission.key_id, admission.budget, admission.bound_nanousd
    if bound is None and (budget is not None or admission.has_credit):
        raise ValueError("a call that is paid from a budget or credit needs a bound of its cost")
    names = keys.of_account(key_id)
    return (
        (
            names.record,
            names.limits,
            names.account,
            names.reservations,
            names.leases,
            names.marks + admission.request_id,
        ),
        (
            admission.request_id,
            admission.revision,
            admission.process,
            key_id,
            *_limits(admission.bounds),
            _tokens(admission.tokens),
            "-" if bound is None else min(bound, MAX_NANOUSD),
            "" if budget is None else budget.period,
            "" if budget is None else budget.limit_nanousd,
            int(admission.has_credit),
            admission.basis,
        ),
    )


def verdict(reply: list[int], admission: Admission) -> Verdict:
    """What `admit.lua` answered."""
    code = reply[0]
    if code == _STALE:
        return STALE
    _, at_ms, rpm, tpm, in_use, budget_left, credit_left = reply
    levels = Levels(at_ms, rpm, tpm, in_use)
    if code == _ADMITTED:
        return admitted(
            admission.bounds,
            levels,
            budget_nanousd=budget_left if admission.budget is not None else None,
            credit_nanousd=credit_left if admission.has_credit else None,
        )
    reason = _REASONS[code - 2]
    left = budget_left if reason == "budget" else credit_left
    return refused(reason, admission, admission.bounds, levels, left)


def settle_call(settlement: Settlement) -> Call:
    """What `settle.lua` is told."""
    names = keys.of_account(settlement.key_id)
    return (
        (
            names.limits,
            names.account,
            names.reservations,
            names.leases,
            names.marks + settlement.request_id,
            names.ledger,
        ),
        (
            settlement.request_id,
            settlement.state,
            settlement.record,
            settlement.admitted_ms,
            _tokens(settlement.tokens_actual),
            _limit(settlement.tpm),
            int(settlement.has_credit),
            int(settlement.was_reserved),
            int(settlement.only_if_reserved),
            settlement.dimensions.joined(),
            *_counts(settlement.counters),
        ),
    )


def settlement_result(reply: int) -> SettlementResult:
    """What `settle.lua` answered."""
    return _RESULTS[reply]


def counted(was: bytes) -> Counted:
    """The field `was` of a correction in the ledger: what the record before it was counted as."""
    head, counters, dimensions = was.decode().split("|", 2)
    state, admitted_ms, has_credit = head.split(" ")
    return Counted(
        state=cast("State", state),
        admitted_ms=int(admitted_ms),
        has_credit=has_credit == "1",
        counters=Counters(*map(int, counters.split(" "))),
        dimensions=Dimensions.split(dimensions),
    )


def open_reservation(request_id: bytes, entry: bytes) -> OpenReservation:
    """A reservation as `admit.lua` wrote it."""
    admitted_ms, process, _, tokens, _, bound, has_credit, key_id, basis = entry.split(b" ", 8)
    return OpenReservation(
        request_id=request_id.decode(),
        key_id=key_id.decode(),
        process=process.decode(),
        admitted_ms=int(admitted_ms),
        tokens=int(tokens),
        bound_nanousd=None if bound == b"-" else int(bound),
        has_credit=has_credit == b"1",
        basis=basis,
    )


def account_view(
    reply: tuple[int, list[bytes], list[bytes], list[bytes], list[bytes]], bounds: Bounds
) -> AccountView:
    """What `account.lua` answered."""
    now_ms, *hashes = reply
    limits, money, day, month = map(pairs, hashes)
    granted = _number(money, b"granted") if b"granted" in money else None
    held = _number(money, b"held")
    return AccountView(
        at_ms=now_ms,
        rpm=_window_now(limits, b"rpm", bounds.rpm, now_ms),
        tpm=_window_now(limits, b"tpm", bounds.tpm, now_ms),
        in_use=sum(
            int(calls)
            for field, calls in limits.items()
            if field.startswith(b"n:") and _number(limits, b"e:" + field[2:]) > now_ms
        ),
        day=_figures(day),
        month=_figures(month),
        total_cost_nanousd=_number(money, b"cost_nanousd"),
        held_nanousd={"day": _number(day, b"held"), "month": _number(month, b"held"), "total": held},
        granted_nanousd=granted,
        credit_nanousd=None if granted is None else granted - _number(money, b"spent") - held,
    )


@lru_cache(maxsize=1024)
def _limits(bounds: Bounds) -> tuple[int | str, int | str, int | str]:
    return _limit(bounds.rpm), _limit(bounds.tpm), _limit(bounds.concurrency)


def _limit(limit: int | None) -> int | str:
    return "" if limit is None or limit >= UNLIMITED else limit


def _tokens(tokens: int) -> int:
    return min(max(0, tokens), UNLIMITED)


def _counts(counters: Counters) -> tuple[int, ...]:
    """Counters the script can add: an upstream may report anything, and half a settlement must not fail."""
    counts: tuple[int, ...] = msgspec.structs.astuple(counters)
    if min(counts) >= 0 and max(counts) <= MAX_NANOUSD:
        return counts
    return tuple(min(max(0, count), MAX_NANOUSD) for count in counts)


def _window_now(limits: dict[bytes, bytes], name: bytes, limit: int | None, now_ms: int) -> Window | None:
    level = 0
    if limit and name in limits:
        kept = Bucket(int(limits[name]), int(limits[name + b"_at"]), int(limits[name + b"_of"]))
        level = kept.level_at(now_ms, limit)
    return window_of(limit, level)


def _figures(of_period: dict[bytes, bytes]) -> UsageFigures:
    return UsageFigures(*(_number(of_period, name.encode()) for name in UsageFigures.__struct_fields__))


def _number(hashed: dict[bytes, bytes], field: bytes) -> int:
    return int(hashed.get(field, 0))
