"""The life of reservations, as random steps over the scripts; after each, the store is counted through."""

from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.limits.values import LEASE_MS, METRICS, Admission, Admitted, Bounds, Budget, Counters
from gateway.store import keys
from tests.integration.accounts.bench import Bench
from tests.integration.accounts.made import KEY, NOON, SHARD, admission, settlement
from tests.integration.accounts.model import DAY_MS, Model, period_of

ACCOUNT = keys.key_account(KEY)
FAR = (DAY_MS, 40 * DAY_MS)

limits = st.builds(
    Bounds,
    rpm=st.none() | st.integers(0, 8),
    tpm=st.none() | st.integers(0, 60),
    concurrency=st.none() | st.integers(0, 5),
)
processes = st.sampled_from(["p1", "p2", "p3"])
amounts = st.integers(0, 30) | st.just(10**14)
which = st.integers(0, 30)


class Life(RuleBasedStateMachine):
    """One key with three processes. `bench` is set by the test."""

    bench: Bench

    def __init__(self) -> None:
        super().__init__()
        self.bench.clear()
        self.model = Model()
        self.now = NOON
        self.times = {NOON}
        self.asked: list[Admission] = []
        self.taken: set[str] = set()
        """Requests that were admitted, each once."""
        self.served_without_store = 0
        self.overspent = 0
        """What corrections and calls without a reservation cost more than was held for them."""
        self.most_budget = 0
        self.most_granted = 0

    @initialize(bounds=limits, budget=st.integers(0, 200), period=st.sampled_from(["day", "month", "total"]))
    def make_key(self, bounds: Bounds, budget: int, period: Any) -> None:
        self.bench.new_key(KEY)
        self.bounds, self.period = bounds, period
        self._set_budget(budget)
        self.add_credit(100)

    @rule(tokens=st.integers(0, 40), bound=amounts, process=processes)
    def admit(self, tokens: int, bound: int, process: str) -> None:
        self._ask(
            admission(
                f"r{len(self.asked)}",
                bounds=self.bounds,
                revision=self.model.revision,
                process=process,
                tokens=tokens,
                bound_nanousd=bound,
                budget=self.budget,
                has_credit=True,
                basis=b"basis with spaces",
            )
        )

    @precondition(lambda self: self.asked)
    @rule(n=which)
    def admit_again(self, n: int) -> None:
        """Whoever does not know whether an admission ran asks again; perhaps the key has changed since."""
        self._ask(self.asked[n % len(self.asked)])

    @precondition(lambda self: self.taken)
    @rule(
        n=which,
        state=st.sampled_from(["exact", "exact", "estimated", "released"]),
        percent=st.integers(0, 100),
    )
    def settle(self, n: int, state: str, percent: int) -> None:
        """End a call, for the first time or not; it cost a part of its bound."""
        asked = self._one_taken(n)
        cost = 0 if state == "released" else (asked.bound_nanousd or 0) * percent // 100
        self._settle(asked, state, cost, tokens_actual=percent)

    @precondition(lambda self: self.taken)
    @rule(n=which)
    def withdraw(self, n: int) -> None:
        asked = self._one_taken(n)
        if asked.request_id not in self.model.settled:
            self._settle(asked, "withdrawn", 0, counters=Counters(requests=0))

    @rule(tokens=st.integers(0, 40), cost=st.integers(0, 30))
    def serve_without_store(self, tokens: int, cost: int) -> None:
        """A call that was served while the store was away, and whose settlement comes in later."""
        asked = admission(f"away{self.served_without_store}", bounds=self.bounds, has_credit=True)
        self.served_without_store += 1
        self._settle(asked, "exact", cost, tokens_actual=tokens, was_reserved=False)

    @rule(process=processes)
    def renew(self, process: str) -> None:
        ids = [each.request_id for each in self.asked if each.process == process] or ["unknown"]
        assert self.bench.renew(process, [KEY], ids, self.now) == self.model.renew(self.now, process, ids)

    @rule()
    def sweep(self) -> None:
        """Charge what dead processes left with all that was reserved."""
        found = self.bench.overdue(SHARD, self.now, limit=1000)
        assert {each.request_id for each in found} == self.model.overdue(self.now)
        for each in found:
            asked = next(a for a in self.asked if a.request_id == each.request_id)
            assert (each.tokens, each.bound_nanousd) == (asked.tokens, asked.bound_nanousd)
            assert (each.process, each.basis, each.has_credit) == (asked.process, asked.basis, True)
            self._settle(
                asked, "orphaned", each.bound_nanousd or 0, only_if_reserved=True, tokens_actual=each.tokens
            )

    @precondition(lambda self: self.taken)
    @rule(n=which)
    def sweep_too_early(self, n: int) -> None:
        self._settle(self._one_taken(n), "orphaned", 1, only_if_reserved=True)

    @rule(nanousd=st.integers(-50, 500) | st.just(10**14))
    def add_credit(self, nanousd: int) -> None:
        self.model.granted += nanousd
        self.most_granted = max(self.most_granted, self.model.granted)
        held = sum(each.held for each in self.model.open.values())
        grant_id = f"g{len(self.times)}-{self.model.granted}-{self.bench.one('DBSIZE')}"
        for _ in range(2):  # the second time it is the same grant
            left = self.bench.credit(KEY, nanousd, grant_id, self.now)
            assert left == self.model.granted - self.model.spent() - held

    @rule(bounds=limits, budget=st.integers(0, 200) | st.just(10**15))
    def change_key(self, bounds: Bounds, budget: int) -> None:
        self.bounds = bounds
        self._set_budget(budget)
        self.model.revision += 1
        self.bench.new_key(KEY, self.model.revision)

    @rule(
        ms=st.integers(0, 20_000)
        | st.integers(-60_000, 60_000)
        | st.sampled_from([LEASE_MS, 60_000, *FAR, -DAY_MS])
    )
    def move_clock(self, ms: int) -> None:
        self.now += ms
        while self.now in self.times:  # counts of calls are told apart by when they began
            self.now += 1
        self.times.add(self.now)

    @invariant()
    def reservations_are_what_the_model_has_open(self) -> None:
        entries = self.bench.hash(keys.reservations(SHARD))
        assert entries.keys() == self.model.open.keys()
        leases = {name.decode() for name in self.bench.one("ZRANGE", keys.leases(SHARD), 0, -1)}
        assert leases == entries.keys()

    @invariant()
    def calls_at_once_are_the_open_ones(self) -> None:
        kept = self.bench.hash(keys.key_limits(KEY))
        counts = {name[2:]: int(calls) for name, calls in kept.items() if name.startswith("n:")}
        entries = [each.split(" ") for each in self.bench.hash(keys.reservations(SHARD)).values()]
        counted = Counter(process for _, process, since, *_ in entries if kept.get(f"s:{process}") == since)
        assert Counter(counts) == counted
        assert int(kept.get("open", 0)) == sum(counts.values())
        if not self.model.has_lapsed:
            assert int(kept.get("open", 0)) == len(entries)

    @invariant()
    def what_is_held_is_the_sum_of_the_reservations(self) -> None:
        entries = [each.split(" ") for each in self.bench.hash(keys.reservations(SHARD)).values()]
        for kind in ("day", "month", "total"):
            held: Counter[str] = Counter()
            for at_ms, _, _, _, nanousd, *_ in entries:
                held[period_of(int(at_ms), kind)] += int(nanousd)
            assert held == Counter({period: found["held"] for period, found in self._accounts(kind)})

    @invariant()
    def each_call_has_one_record_and_the_counters_are_their_sum(self) -> None:
        entries = [(each[b"t"].decode(), each[b"r"]) for each in self._ledger()]
        expected = [
            (kind, settlement(request_id, state=state).record)
            for kind, request_id, state in self.model.entries
        ]
        assert entries == expected
        events = [record for kind, record in entries if kind == "event"]
        assert len(events) == len(set(events))
        done = [each for each in self.model.settled.values() if each.state != "withdrawn"]
        assert len(events) == len(done)
        sums = [getattr(self.model.counters(), metric) for metric in METRICS]
        for pattern in (keys.usage_of_day(SHARD, "*"), keys.usage_of_hour(SHARD, "*")):
            counted: Counter[str] = Counter()
            for _, found in self.bench.hashes(pattern):
                for name, value in found.items():
                    counted[name.rpartition("\x1f")[2]] += int(value)
            assert [counted[metric] for metric in METRICS] == sums
        for kind in ("day", "month"):
            cost = {period: found["cost_nanousd"] for period, found in self._accounts(kind)}
            assert Counter(cost) == self.model.cost_by(kind)

    @invariant()
    def money_is_never_overspent(self) -> None:
        for _, found in self._accounts(self.period):
            assert found["cost_nanousd"] + found["held"] <= self.most_budget + self.overspent
        [(_, money)] = self._accounts("total") or [("", Counter())]
        assert money["spent"] + money["held"] <= self.most_granted + self.overspent
        assert money["spent"] == money["cost_nanousd"] == self.model.spent()
        assert money["granted"] == self.model.granted

    def _ask(self, asked: Admission) -> None:
        expected = self.model.admit(self.now, asked)
        verdict = self.bench.admit(asked, self.now)
        if all(each.request_id != asked.request_id for each in self.asked):
            self.asked.append(asked)
        if not isinstance(verdict, Admitted):
            reason = getattr(verdict, "reason", "stale")
            assert reason == expected.verdict
            return
        assert expected.verdict == "admitted"
        assert (verdict.at_ms, verdict.in_use) == (expected.at_ms, expected.in_use)
        assert (verdict.budget_nanousd, verdict.credit_nanousd) == (
            expected.budget_left,
            expected.credit_left,
        )
        self.taken.add(asked.request_id)

    def _one_taken(self, n: int) -> Admission:
        taken = [each for each in self.asked if each.request_id in self.taken]
        return taken[n % len(taken)]

    def _settle(self, asked: Admission, state: str, cost: int, **given: Any) -> None:
        request_id = asked.request_id
        reserved, known = self.model.open.get(request_id), self.model.settled.get(request_id)
        at_ms = reserved.at_ms if reserved else known.admitted_ms if known else self.now
        given.setdefault("counters", Counters(prompt_tokens=3, completion_tokens=4, cost_nanousd=cost))
        ended = settlement(
            request_id, state=state, admitted_ms=at_ms, tpm=asked.bounds.tpm, has_credit=True, **given
        )
        result = self.model.settle(self.now, ended)
        assert self.bench.settle(ended, self.now) == result
        if result in ("stored", "corrected"):
            paid_for = reserved.held if reserved else known.counters.cost_nanousd if known else 0
            self.overspent += max(0, cost - paid_for)

    def _set_budget(self, nanousd: int) -> None:
        self.budget = Budget(nanousd, self.period)
        self.most_budget = max(self.most_budget, nanousd)

    def _accounts(self, kind: str) -> list[tuple[str, Counter[str]]]:
        """The hashes of money of a kind of period, by period."""
        digits = {"day": 8, "month": 6, "total": 0}[kind]
        found = []
        for name, values in self.bench.hashes(f"{ACCOUNT}*"):
            period = name.removeprefix(ACCOUNT).removeprefix(":")
            if len(period) == digits:
                found.append((period, Counter({field: int(value) for field, value in values.items()})))
        return found

    def _ledger(self) -> list[dict[bytes, bytes]]:
        entries = self.bench.one("XRANGE", keys.ledger(SHARD), "-", "+")
        return [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in entries]
