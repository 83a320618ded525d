"""Random histories of a key, each sent to the scripts in one write and compared with the model by step."""

import itertools
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from gateway.limits.bucket import Bucket
from gateway.limits.values import LEASE_MS, MAX_NANOUSD, UNLIMITED, Admission, Bounds, Budget, Counters
from gateway.store import keys
from tests.integration.accounts.bench import Bench, Command
from tests.integration.accounts.made import NOON, SHARD, admission, settlement
from tests.integration.accounts.model import Answer, Model, period_of

CLEAR_EACH = 5_000
"""Cases that share a store: open calls of all of them lie in one hash."""

VERDICTS = ("stale", "admitted", "requests", "tokens", "concurrency", "budget", "credit")
RESULTS = ("absent", "stored", "duplicate", "corrected")
STATES = ("exact", "exact", "estimated", "released", "orphaned", "withdrawn")

per_minute = st.one_of(
    st.none(),
    st.integers(0, 20),
    st.integers(1, UNLIMITED - 1),
    st.sampled_from([1, 59, 60, 61, 59_999, 60_000, 60_001, UNLIMITED - 1, UNLIMITED]),
)
at_once = st.none() | st.integers(0, 4) | st.sampled_from([UNLIMITED])
money = st.one_of(st.integers(0, 20), st.sampled_from([0, 1, 10**9, 10**15]), st.integers(0, 10**15))
"""Nano-dollars. Eight calls of the largest are less than `MAX_NANOUSD`, above which sums are not exact."""
budgets = st.none() | st.builds(
    Budget, money | st.just(MAX_NANOUSD), st.sampled_from(["day", "month", "total"])
)
tokens = st.one_of(st.integers(0, 30), st.integers(0, UNLIMITED), st.sampled_from([0, 1, 60_000]))
pauses = st.one_of(
    st.integers(0, 3),
    st.integers(0, 2_000),
    st.integers(-70_000, 200_000),
    st.sampled_from([0, 999, LEASE_MS - 1, LEASE_MS, 60_000, 10**8, 10**10, -(10**9)]),
)
kinds = st.sampled_from(["admit", "admit", "admit", "settle", "settle", "renew", "credit", "again", "sweep"])
steps = st.lists(st.tuples(pauses, kinds, tokens, money), min_size=1, max_size=8)
bounds = st.builds(
    lambda *given: Bounds.of(dict(zip(("rpm", "tpm", "concurrency"), given, strict=True)), Bounds()),
    *(per_minute, per_minute, at_once),
)
plans = st.lists(st.tuples(bounds, budgets, st.booleans(), steps), min_size=1, max_size=2)

numbers = itertools.count()


class History:
    """One key: the commands of its history, and what the model says that they are answered."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.key_id = f"{SHARD}{next(numbers):010d}"
        self.model = Model()
        self.now = NOON
        self.times: set[int] = set()
        self.asked: list[Admission] = []
        self.commands: list[Command] = [("HSET", keys.key_record(self.key_id), "rev", 1)]
        self.expected: list[Any] = [1]

    def move(self, pause: int) -> None:
        """Set the clock. It shows no time twice: counts of calls are told apart by when they began."""
        self.now = max(0, self.now + pause)
        while self.now in self.times and pause:
            self.now += 1
        self.times.add(self.now)
        self._expect("OK", ("SET", "now", self.now))

    def step(self, kind: str, of: tuple[Bounds, Budget | None, bool], tokens: int, money: int) -> None:
        process = f"p{tokens % 2}"
        if kind == "admit" or (kind in ("settle", "again") and not self.asked):
            limits, budget, has_credit = of
            asked = admission(
                f"{self.key_id}-{len(self.asked)}",
                key_id=self.key_id,
                process=process,
                bounds=limits,
                tokens=tokens,
                bound_nanousd=money,
                budget=budget,
                has_credit=has_credit,
            )
            self.asked.append(asked)
            self._admit(asked)
        elif kind == "again":
            self._admit(self.asked[tokens % len(self.asked)])
        elif kind == "settle":
            self._settle(self.asked[tokens % len(self.asked)], STATES[money % len(STATES)], tokens, money)
        elif kind == "renew":
            ids = [each.request_id for each in self.asked if each.process == process]
            names = [keys.leases(SHARD), keys.key_limits(self.key_id)]
            command = self.bench.command(self.bench.scripts.renew, names, [process, *ids, "unknown"])
            self._expect(self.model.renew(self.now, process, ids), command)
        elif kind == "credit":
            self.model.granted += money
            held = sum(each.held for each in self.model.open.values())
            names = [
                keys.key_account(self.key_id),
                keys.grant_mark(SHARD, f"{self.key_id}{len(self.expected)}"),
            ]
            command = self.bench.command(self.bench.scripts.credit, names, [money])
            self._expect(self.model.granted - self.model.spent() - held, command)
        else:
            for asked in self.asked:
                self._settle(asked, "orphaned", asked.tokens, money, only_if_reserved=True)

    def _admit(self, asked: Admission) -> None:
        self._expect(self.model.admit(self.now, asked), self.bench.admit_command(asked))

    def _settle(self, asked: Admission, state: str, used: int, cost: int, **given: Any) -> None:
        reserved = self.model.open.get(asked.request_id)
        if state == "withdrawn":  # no record: as the meter writes it
            used = cost = 0
            given["counters"] = Counters(requests=0)
        ended = settlement(
            asked.request_id,
            key_id=self.key_id,
            state=state,
            admitted_ms=reserved.at_ms if reserved else self.now,
            tokens_actual=used,
            tpm=asked.bounds.tpm,
            has_credit=asked.has_credit,
            cost=cost,
            **given,
        )
        self._expect(self.model.settle(self.now, ended), self.bench.settle_command(ended))

    def _expect(self, answer: Any, command: Command) -> None:
        self.commands.append(command)
        self.expected.append(answer)

    def check(self) -> None:
        """Send all of it, then compare every answer and what is stored in the end."""
        account = keys.key_account(self.key_id)
        *replies, limits, money_kept, month = self.bench.run(
            *self.commands,
            ("HGETALL", keys.key_limits(self.key_id)),
            ("HGETALL", account),
            ("HGETALL", f"{account}:{period_of(self.now, 'month')}"),
        )
        for number, (reply, expected) in enumerate(zip(replies, self.expected, strict=True)):
            assert _read(reply, expected) == expected, (number, self.commands[number])
        self._check_limits(_numbers(limits))
        model = self.model
        held = sum(each.held for each in model.open.values())
        found = _numbers(money_kept)
        assert found.get("held", 0) == held
        assert found.get("cost_nanousd", 0) == model.cost_by("total")[""]
        assert found.get("spent", 0) == model.spent()
        of_month = period_of(self.now, "month")
        found = _numbers(month)
        assert found.get("held", 0) == model.held_by("month")[of_month]
        assert found.get("cost_nanousd", 0) == model.cost_by("month")[of_month]

    def _check_limits(self, kept: dict[str, int]) -> None:
        for name, bucket in (("rpm", self.model.rpm), ("tpm", self.model.tpm)):
            if bucket is None:
                assert name not in kept
            else:
                assert Bucket(kept[name], kept[f"{name}_at"], kept[f"{name}_of"]) == bucket
        counts = {name[2:]: calls for name, calls in kept.items() if name.startswith("n:")}
        assert counts == {name: each.calls for name, each in self.model.counts.items()}
        assert kept.get("open", 0) == sum(counts.values())


def _read(reply: Any, expected: Any) -> Any:
    """A reply as the model answers; what it does not speak of is left out."""
    if isinstance(expected, str) and expected in RESULTS:
        return RESULTS[reply]
    if not isinstance(expected, Answer):
        return reply.decode() if isinstance(reply, bytes) else reply
    verdict, *figures = reply
    if not figures:
        return Answer(VERDICTS[verdict])
    names = ("at_ms", "rpm", "tpm", "in_use", "budget_left", "credit_left")
    told = dict(zip(names, figures, strict=True))
    return Answer(VERDICTS[verdict], **{n: None if getattr(expected, n) is None else told[n] for n in names})


def _numbers(flat: list[bytes]) -> dict[str, int]:
    fields = zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(): int(value) for name, value in fields}


def compare(bench: Bench, cases: int) -> Counter[str]:
    """Compare so many histories. Returns how often each verdict and result was seen."""
    bench.clear()
    seen: Counter[str] = Counter()

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(plans)
    def same(plan: list[tuple[Bounds, Budget | None, bool, list[Any]]]) -> None:
        seen["histories"] += 1
        if seen["histories"] % CLEAR_EACH == 0:
            bench.clear()
        note(repr(plan))  # Hypothesis leaves out what it cannot evaluate
        history = History(bench)
        for *of, its_steps in plan:
            for pause, kind, some_tokens, some_money in its_steps:
                history.move(pause)
                history.step(kind, tuple(of), some_tokens, some_money)
        history.check()
        for answer in history.expected:
            seen[answer.verdict if isinstance(answer, Answer) else answer] += 1

    same()
    return Counter({name: count for name, count in seen.items() if isinstance(name, str) and name != "OK"})
