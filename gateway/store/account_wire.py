"""What the scripts of the accounts are told, and what their replies mean. Pure: nothing is sent here."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import msgspec

from gateway.limits.bucket import Bucket
from gateway.limits.values import (
    STALE,
    AccountView,
    Admission,
    Bounds,
    Counted,
    Counters,
    Dimensions,
    OpenReservation,
    Reason,
    Settlement,
    State,
    UsageFigures,
    Verdict,
    Window,
)
from gateway.limits.verdict import Levels, admitted, refused, window_of
from gateway.store.account_forms import AdmissionForm, SettlementForm, addable
from gateway.store.client import pairs
from gateway.store.scripts import Script

Packed = tuple[str, bytes]
"""A call of a script: its first key, and the command as it is sent."""

_REASONS: tuple[Reason, ...] = ("requests", "tokens", "concurrency", "budget", "credit")
STALE_REPLY, ADMITTED = 0, 1
"""What `admit.lua` answers first; any other number is a refusal."""


def admission_form(script: Script, admission: Admission) -> AdmissionForm:
    """The form of an admission and of all that ask on the same terms."""
    return AdmissionForm(
        script,
        key_id=admission.key_id,
        revision=admission.revision,
        process=admission.process,
        bounds=admission.bounds,
        budget=admission.budget,
        has_credit=admission.has_credit,
        basis=admission.basis,
    )


def admit_command(script: Script, admission: Admission) -> Packed:
    """The call of `admit.lua`. Raises `ValueError` where money must be held and no bound is known."""
    form = admission_form(script, admission)
    return form.key, form.packed(admission.request_id, admission.tokens, admission.bound_nanousd)


def verdict(reply: list[int], admission: Admission) -> Verdict:
    """What `admit.lua` answered."""
    code = reply[0]
    if code == STALE_REPLY:
        return STALE
    _, at_ms, rpm, tpm, in_use, budget_left, credit_left = reply
    levels = Levels(at_ms, rpm, tpm, in_use)
    if code == ADMITTED:
        return admitted(
            admission.bounds,
            levels,
            budget_nanousd=budget_left if admission.budget is not None else None,
            credit_nanousd=credit_left if admission.has_credit else None,
        )
    reason = _REASONS[code - 2]
    left = budget_left if reason == "budget" else credit_left
    return refused(reason, admission, admission.bounds, levels, left)


@lru_cache(maxsize=1024)  # whoever replays settles many of few keys
def settlement_form(script: Script, key_id: str, tpm: int | None, has_credit: bool) -> SettlementForm:
    """The form of the settlements of calls that were admitted on the same terms."""
    return SettlementForm(script, key_id=key_id, tpm=tpm, has_credit=has_credit)


def settle_command(script: Script, settlement: Settlement) -> Packed:
    """The call of `settle.lua`."""
    form = settlement_form(script, settlement.key_id, settlement.tpm, settlement.has_credit)
    return form.key, form.packed(
        settlement.request_id,
        settlement.record,
        figures_of(settlement),
        form.tail(
            settlement.dimensions.joined(),
            settlement.state,
            settlement.was_reserved,
            settlement.only_if_reserved,
        ),
    )


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


def figures_of(settlement: Settlement) -> tuple[int, ...]:
    """What a settlement adds: when it was admitted, what it took of the tokens a minute, its counters."""
    counters = msgspec.structs.astuple(settlement.counters)
    return addable((settlement.admitted_ms, settlement.tokens_actual, *counters))


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
