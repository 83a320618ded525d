"""What the scripts of the accounts are told, and what their replies mean. Pure: nothing is sent here.

Two of them run for each call, so these commands are not packed argument by argument: what is the same in all
calls of a key is kept packed, and what varies is put into its middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, cast

import msgspec

from gateway.limits.bucket import Bucket
from gateway.limits.values import (
    MAX_NANOUSD,
    STALE,
    UNLIMITED,
    AccountView,
    Admission,
    Bounds,
    Budget,
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
from gateway.store.address import Command
from gateway.store.client import pairs
from gateway.store.greeting import pack
from gateway.store.scripts import Script

Packed = tuple[str, bytes]
"""A call of a script: its first key, and the command as it is sent."""

_KEPT = 20_000
"""Of how many keys calls are packed but for what varies: as many as a worker remembers."""

_OF_AN_ADMISSION, _OF_A_SETTLEMENT = 4, 6
"""How many arguments vary from call to call; they come first, in the order of the scripts' heads."""

_encode = msgspec.json.Encoder().encode
_REASONS: tuple[Reason, ...] = ("requests", "tokens", "concurrency", "budget", "credit")
SETTLEMENT_RESULTS: tuple[SettlementResult, ...] = ("absent", "stored", "duplicate", "corrected")
"""What `settle.lua` answers, by its number."""

_STALE, _ADMITTED = 0, 1


def admit_command(script: Script, admission: Admission) -> Packed:
    """The call of `admit.lua`. Raises `ValueError` where money must be held and no bound is known."""
    bound_nanousd = admission.bound_nanousd
    if bound_nanousd is None and (admission.budget is not None or admission.has_credit):
        raise ValueError("a call that is paid from a budget or credit needs a bound of its cost")
    fixed = _of_admissions(
        script.sha,
        admission.key_id,
        admission.revision,
        admission.process,
        admission.bounds,
        admission.budget,
        admission.has_credit,
    )
    request_id = admission.request_id.encode()
    mark = fixed.marks + request_id
    asked = admission.tokens
    tokens = b"%d" % (asked if 0 <= asked <= UNLIMITED else _within(asked, UNLIMITED))
    bound = b"-" if bound_nanousd is None else b"%d" % min(bound_nanousd, MAX_NANOUSD)
    basis = admission.basis
    return fixed.key, b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b" % (
        fixed.head,
        len(mark),
        mark,
        len(request_id),
        request_id,
        len(tokens),
        tokens,
        len(bound),
        bound,
        len(basis),
        basis,
        fixed.tail,
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


def settle_command(script: Script, settlement: Settlement) -> Packed:
    """The call of `settle.lua`."""
    fixed = _of_settlements(
        script.sha,
        settlement.key_id,
        settlement.state,
        settlement.tpm,
        settlement.has_credit,
        settlement.was_reserved,
        settlement.only_if_reserved,
    )
    request_id = settlement.request_id.encode()
    mark = fixed.marks + request_id
    record = settlement.record
    admitted_ms = b"%d" % settlement.admitted_ms
    took = settlement.tokens_actual
    tokens = b"%d" % (took if 0 <= took <= UNLIMITED else _within(took, UNLIMITED))
    counts = _encode(counts_of(settlement.counters))[1:-1].replace(b",", b" ")  # a third of the time of %d
    dimensions = _joined(settlement.dimensions)
    return fixed.key, (
        b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b"
        % (
            fixed.head,
            len(mark),
            mark,
            len(request_id),
            request_id,
            len(record),
            record,
            len(admitted_ms),
            admitted_ms,
            len(tokens),
            tokens,
            len(counts),
            counts,
            len(dimensions),
            dimensions,
            fixed.tail,
        )
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


def counts_of(counters: Counters) -> tuple[int, ...]:
    """Counters the script can add: an upstream may report anything, and half a settlement must not fail."""
    counts: tuple[int, ...] = msgspec.structs.astuple(counters)
    if max(counts) <= MAX_NANOUSD and min(counts) >= 0:
        return counts
    return tuple(_within(count, MAX_NANOUSD) for count in counts)


def _within(count: int, most: int) -> int:
    return min(max(0, count), most)


class _Fixed(NamedTuple):
    """What is the same in each call of a key: packed once, around the little that is not.

    Args:
        key: the first key, which says where a cluster has them all.
        marks: what the mark's name begins with; the mark is the last key, so the call goes on with it.
    """

    key: str
    head: bytes
    marks: bytes
    tail: bytes


@lru_cache(maxsize=_KEPT)
def _of_admissions(
    sha: str,
    key_id: str,
    revision: int,
    process: str,
    bounds: Bounds,
    budget: Budget | None,
    has_credit: bool,
) -> _Fixed:
    names = keys.of_account(key_id)
    return _fixed(
        sha,
        (names.record, names.limits, names.account, names.reservations, names.leases),
        names.marks,
        _OF_AN_ADMISSION,
        (
            revision,
            process,
            key_id,
            _limit(bounds.rpm),
            _limit(bounds.tpm),
            _limit(bounds.concurrency),
            "" if budget is None else budget.period,
            "" if budget is None else budget.limit_nanousd,
            int(has_credit),
        ),
    )


@lru_cache(maxsize=_KEPT)
def _of_settlements(
    sha: str,
    key_id: str,
    state: State,
    tpm: int | None,
    has_credit: bool,
    was_reserved: bool,
    only_if_reserved: bool,
) -> _Fixed:
    names = keys.of_account(key_id)
    return _fixed(
        sha,
        (names.limits, names.account, names.reservations, names.leases, names.ledger),
        names.marks,
        _OF_A_SETTLEMENT,
        (
            state,
            _limit(tpm),
            int(has_credit),
            int(was_reserved),
            int(only_if_reserved),
        ),
    )


@lru_cache(maxsize=4096)  # the same few for nearly all calls
def _joined(dimensions: Dimensions) -> bytes:
    return dimensions.joined().encode()


def _fixed(sha: str, names: Sequence[str], marks: str, varying: int, tail: Command) -> _Fixed:
    """`varying`: how many arguments stand before `tail`."""
    keys_in_all = len(names) + 1
    head = pack(("EVALSHA", sha, keys_in_all, *names))
    in_all = 3 + keys_in_all + varying + len(tail)
    return _Fixed(names[0], b"*%d\r\n%b" % (in_all, _uncounted(head)), marks.encode(), _uncounted(pack(tail)))


def _uncounted(packed: bytes) -> bytes:
    """A packed command without the line that counts its parts."""
    return packed[packed.index(b"\n") + 1 :]


def _limit(limit: int | None) -> int | str:
    return "" if limit is None or limit >= UNLIMITED else limit


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
