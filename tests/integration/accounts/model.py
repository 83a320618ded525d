"""What the scripts of the accounts ought to do, in whole numbers of Python, for one key.

The buckets are those of `gateway/limits/bucket.py`; the rest is written from the docs. Times are those that
the test gives.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from gateway.limits.bucket import UNIT, Bucket, fits, settled
from gateway.limits.values import LEASE_MS, MAX_NANOUSD, UNLIMITED, Admission, Bounds, Counters, Settlement

DAY_MS = 86_400_000
RANK = {"orphaned": 0, "withdrawn": 1, "released": 1, "estimated": 1, "exact": 2}


@dataclass(frozen=True)
class Answer:
    """What an admission is answered; None for a figure that the key has no bound on."""

    verdict: str
    at_ms: int = 0
    rpm: int | None = None
    tpm: int | None = None
    in_use: int = 0
    budget_left: int | None = None
    credit_left: int | None = None


class Money(NamedTuple):
    """What is not spent, and what of that is not held either."""

    budget_unspent: int
    budget_left: int
    credit_unspent: int
    credit_left: int


@dataclass
class Count:
    """Calls at once of one process."""

    since: int
    ends_at: int
    calls: int = 0


@dataclass
class Open:
    """A reservation."""

    at_ms: int
    process: str
    since: int
    tokens: int
    held: int
    lease: int


@dataclass
class Model:
    revision: int = 1
    granted: int = 0
    rpm: Bucket | None = None
    tpm: Bucket | None = None
    counts: dict[str, Count] = field(default_factory=dict)
    check_at: int | None = None
    open: dict[str, Open] = field(default_factory=dict)
    settled: dict[str, Settlement] = field(default_factory=dict)
    entries: list[tuple[str, str, str]] = field(default_factory=list)
    """The ledger: (event or correction, request id, state)."""
    has_lapsed: bool = False
    """A process once did not renew in time, so that its calls count no longer."""

    def admit(self, now: int, asked: Admission) -> Answer:
        if asked.revision != self.revision:
            return Answer("stale")
        self._drop_the_dead(now)
        bounds = asked.bounds
        rpm, tpm = _level(self.rpm, now, bounds.rpm), _level(self.tpm, now, bounds.tpm)
        tokens, held = min(asked.tokens, UNLIMITED), held_for(asked)
        money = self.money(now, asked)
        in_use = sum(count.calls for count in self.counts.values())
        verdict = (
            self._refusal_by_limits(bounds, rpm, tpm, tokens, in_use)
            or self._refusal_by_money(asked, held, money)
            or "admitted"
        )
        at_ms, left = now, (money.budget_left, money.credit_left)
        earlier_ms = self._earlier(asked.request_id)
        if earlier_ms is not None:
            verdict, at_ms = "admitted", earlier_ms
        else:
            is_taken = verdict == "admitted"
            if is_taken:
                self._take(now, asked, tokens, held)
                in_use, left = in_use + 1, (left[0] - held, left[1] - held)
                rpm, tpm = rpm + UNIT, tpm + tokens * UNIT
            if bounds.rpm and (is_taken or _is_outdated(self.rpm, now, bounds.rpm)):
                self.rpm = Bucket(rpm, now, bounds.rpm)
            if bounds.tpm and (is_taken or _is_outdated(self.tpm, now, bounds.tpm)):
                self.tpm = Bucket(tpm, now, bounds.tpm)
        return Answer(
            verdict,
            at_ms,
            None if bounds.rpm is None else rpm,
            None if bounds.tpm is None else tpm,
            in_use,
            left[0] if asked.budget else None,
            left[1] if asked.has_credit else None,
        )

    def renew(self, now: int, process: str, request_ids: list[str]) -> int:
        found = [self.open[each] for each in request_ids if each in self.open]
        for each in found:
            each.lease = now + LEASE_MS
        if process in self.counts:
            self.counts[process].ends_at = now + LEASE_MS
            if self.check_at is not None and self.check_at > now + LEASE_MS:
                self.check_at = 0
        return len(found)

    def settle(self, now: int, given: Settlement) -> str:
        request_id = given.request_id
        reserved, known = self.open.get(request_id), self.settled.get(request_id)
        if given.only_if_reserved and (reserved is None or reserved.lease > now):
            return "absent"
        if known and (known.state == "withdrawn" or RANK[given.state] <= RANK[known.state]):
            return "duplicate"
        if not known and not reserved and given.was_reserved and now - given.admitted_ms >= DAY_MS:
            return "duplicate"
        taken = 0
        if reserved:
            del self.open[request_id]
            taken = reserved.tokens
            count = self.counts.get(reserved.process)
            if count and count.since == reserved.since:
                count.calls -= 1
        if not known and given.tpm is not None:
            limit = self.tpm.limit if self.tpm else given.tpm
            more = min(max(0, given.tokens_actual), UNLIMITED) - taken
            if more and limit:
                self.tpm = Bucket(settled(_level(self.tpm, now, limit), more), now, limit)
        self.settled[request_id] = given
        if known or given.state != "withdrawn":
            self.entries.append(("correction" if known else "event", request_id, given.state))
        return "corrected" if known else "stored"

    def overdue(self, now: int) -> set[str]:
        """The reservations whose lease is over; leases that outlast a new one are shortened."""
        for each in self.open.values():
            each.lease = min(each.lease, now + LEASE_MS)
        return {request_id for request_id, each in self.open.items() if each.lease <= now}

    def money(self, now: int, asked: Admission) -> Money:
        budget_unspent = budget_left = 0
        if asked.budget:
            kind = asked.budget.period
            period = period_of(now, kind)
            budget_unspent = asked.budget.limit_nanousd - self.cost_by(kind)[period]
            budget_left = budget_unspent - self.held_by(kind)[period]
        credit_unspent = self.granted - self.spent()
        credit_left = credit_unspent - sum(each.held for each in self.open.values())
        return Money(budget_unspent, budget_left, credit_unspent, credit_left)

    def cost_by(self, kind: str) -> Counter[str]:
        cost: Counter[str] = Counter()
        for each in self.settled.values():
            if each.state != "withdrawn":
                cost[period_of(each.admitted_ms, kind)] += cost_of(each)
        return cost

    def held_by(self, kind: str) -> Counter[str]:
        held: Counter[str] = Counter()
        for each in self.open.values():
            held[period_of(each.at_ms, kind)] += each.held
        return held

    def spent(self) -> int:
        return sum(
            cost_of(each) for each in self.settled.values() if each.has_credit and each.state != "withdrawn"
        )

    def counters(self) -> Counters:
        """The sum of what stands."""
        total: Counter[str] = Counter()
        for each in self.settled.values():
            if each.state != "withdrawn":
                for name in Counters.__struct_fields__:
                    total[name] += getattr(each.counters, name)
        return Counters(**{name: total[name] for name in Counters.__struct_fields__})

    @staticmethod
    def _refusal_by_limits(bounds: Bounds, rpm: int, tpm: int, tokens: int, in_use: int) -> str | None:
        if bounds.rpm is not None and not (bounds.rpm and fits(rpm, 1, bounds.rpm)):
            return "requests"
        if bounds.tpm is not None and not (bounds.tpm and fits(tpm, tokens, bounds.tpm)):
            return "tokens"
        if bounds.concurrency is not None and in_use >= bounds.concurrency:
            return "concurrency"
        return None

    @staticmethod
    def _refusal_by_money(asked: Admission, held: int, money: Money) -> str | None:
        if asked.budget and (money.budget_unspent <= 0 or held > money.budget_left):
            return "budget"
        if asked.has_credit and (money.credit_unspent <= 0 or held > money.credit_left):
            return "credit"
        return None

    def _take(self, now: int, asked: Admission, tokens: int, held: int) -> None:
        count = self.counts.setdefault(asked.process, Count(now, 0))
        count.calls += 1
        count.ends_at = now + LEASE_MS
        if self.check_at is None:
            self.check_at = now + LEASE_MS
        self.open[asked.request_id] = Open(now, asked.process, count.since, tokens, held, now + LEASE_MS)

    def _earlier(self, request_id: str) -> int | None:
        if request_id in self.settled:
            return self.settled[request_id].admitted_ms
        return self.open[request_id].at_ms if request_id in self.open else None

    def _drop_the_dead(self, now: int) -> None:
        if self.check_at is None or self.check_at - LEASE_MS <= now < self.check_at:
            return
        self.has_lapsed = self.has_lapsed or any(
            each.ends_at <= now and each.calls for each in self.counts.values()
        )
        self.counts = {name: each for name, each in self.counts.items() if each.ends_at > now}
        for each in self.counts.values():
            each.ends_at = min(each.ends_at, now + LEASE_MS)
        self.check_at = min([now + LEASE_MS, *(each.ends_at for each in self.counts.values())])


def period_of(at_ms: int, kind: str) -> str:
    """The UTC day or month of a time, as the store names it; "" for all time."""
    form = {"day": "%Y%m%d", "month": "%Y%m", "total": ""}[kind]
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime(form) if form else ""


def held_for(asked: Admission) -> int:
    """What a call holds while it is open."""
    if not (asked.budget or asked.has_credit):
        return 0
    assert asked.bound_nanousd is not None
    return min(asked.bound_nanousd, MAX_NANOUSD)


def cost_of(given: Settlement) -> int:
    return min(max(0, given.counters.cost_nanousd), MAX_NANOUSD)


def _level(bucket: Bucket | None, now: int, limit: int | None) -> int:
    return bucket.level_at(now, limit) if bucket and limit else 0


def _is_outdated(bucket: Bucket | None, now: int, limit: int) -> bool:
    return bucket is not None and (now < bucket.at_ms or limit != bucket.limit)
