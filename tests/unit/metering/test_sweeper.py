"""When the sweeper may charge, and what."""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.limits.values import OpenReservation, SettlementResult
from gateway.metering.record import LedgerRecord
from gateway.metering.sweeper import Sweeper, charge
from gateway.store.errors import StoreAway, StoreReplyError
from tests.unit.metering.made import KEY, FakeAccounts, reservation


@dataclass
class Accounts(FakeAccounts):
    """Reservations by shard; settling one ends it."""

    left: dict[str, list[OpenReservation]] = field(default_factory=dict)
    renewed: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)

    async def overdue(self, shard: str, limit: int) -> list[OpenReservation]:
        if self.is_away or shard in self.missing:
            raise StoreAway("gone")
        settled = set(self.ids)
        return [each for each in self.left.get(shard, []) if each.request_id not in settled][:limit]

    async def settle(self, settlement, *, timeout_s=None) -> SettlementResult:
        if settlement.request_id in self.renewed:
            return "absent"
        return await super().settle(settlement, timeout_s=timeout_s)


@dataclass
class FakeTakeover:
    is_clean: bool = True
    living: set[str] = field(default_factory=set)
    runs: int = 0

    async def run(self) -> bool:
        self.runs += 1
        return self.is_clean

    async def settled_by_the_living(self) -> set[str]:
        return set(self.living)

    async def aclose(self) -> None:
        pass


class Bench:
    """A sweeper in a time of its own: `pass_time` looks every five seconds."""

    def __init__(self, *request_ids: str, shards: tuple[str, ...] = ("07", "08")) -> None:
        self.now = 1000.0
        self.accounts = Accounts()
        self.accounts.left["07"] = [reservation(each) for each in request_ids]
        self.takeover = FakeTakeover()
        self.counted: list[str] = []
        self.sweeper = Sweeper(
            self.accounts,
            self.takeover,  # type: ignore[arg-type]  # a twin
            shards,
            on_settled=self.counted.append,
            clock=lambda: self.now,
        )

    async def pass_time(self, seconds: float, *, step_s: float = 5.0) -> None:
        for _ in range(int(seconds / step_s)):
            self.now += step_s
            await self.look()

    async def look(self) -> None:
        await self.sweeper.replay()
        await self.sweeper.sweep()


async def test_nothing_is_charged_before_the_store_was_seen_for_a_lease():
    bench = Bench("req_1")
    await bench.look()
    await bench.pass_time(25)
    assert bench.accounts.ids == []
    await bench.pass_time(5)
    assert bench.accounts.ids == ["req_1"]
    assert bench.counted == ["orphaned"]


async def test_a_gap_begins_the_wait_anew():
    bench = Bench("req_1")
    await bench.look()
    await bench.pass_time(25)
    bench.accounts.is_away = True
    await bench.pass_time(5)
    bench.accounts.is_away = False
    await bench.pass_time(30)
    assert bench.accounts.ids == []
    await bench.pass_time(5)
    assert bench.accounts.ids == ["req_1"]


async def test_a_pause_of_our_own_is_a_gap():
    bench = Bench("req_1")
    await bench.look()
    await bench.pass_time(25)
    bench.now += 20  # the machine slept, and with it all who would have renewed
    await bench.look()
    assert bench.accounts.ids == []
    await bench.pass_time(25)
    assert bench.accounts.ids == []
    await bench.pass_time(5)
    assert bench.accounts.ids == ["req_1"]


async def test_a_shard_that_was_away_waits_alone():
    bench = Bench("req_1")
    bench.accounts.left["08"] = [reservation("req_2", key_id="08abcdefghij")]
    bench.accounts.missing = {"08"}
    await bench.look()
    await bench.pass_time(10)
    bench.accounts.missing.clear()
    await bench.pass_time(25)
    await bench.pass_time(5)
    assert bench.accounts.ids == ["req_1"]
    await bench.pass_time(5)
    assert bench.accounts.ids == ["req_1", "req_2"]


async def test_nothing_is_charged_before_the_journals_of_the_dead_are_replayed():
    bench = Bench("req_1")
    bench.takeover.is_clean = False
    await bench.look()
    await bench.pass_time(100)
    assert bench.accounts.ids == []
    bench.takeover.is_clean = True
    await bench.pass_time(5)
    assert bench.accounts.ids == ["req_1"]


async def test_what_a_living_process_has_journaled_is_spared():
    bench = Bench("req_1", "req_2")
    bench.takeover.living = {"req_1"}
    await bench.look()
    await bench.pass_time(60)
    assert bench.accounts.ids == ["req_2"]


async def test_many_that_are_spared_do_not_hide_the_others():
    spared = [f"spared_{number}" for number in range(700)]
    bench = Bench(*spared, "req_1")
    bench.takeover.living = set(spared)
    await bench.look()
    await bench.pass_time(30)
    assert bench.accounts.ids == ["req_1"]


async def test_all_that_is_left_is_charged_in_one_go():
    ids = [f"req_{number}" for number in range(1000)]
    bench = Bench(*ids)
    await bench.look()
    await bench.pass_time(30)
    assert bench.accounts.ids == ids


async def test_what_was_renewed_in_between_is_not_counted():
    bench = Bench("req_1", "req_2")
    bench.accounts.renewed = {"req_1"}
    await bench.look()
    await bench.pass_time(30)
    assert bench.accounts.ids == ["req_2"]
    assert bench.counted == ["orphaned"]


async def test_what_the_store_refuses_for_good_is_tried_once_and_hides_nothing():
    ids = [f"req_{number}" for number in range(300)]
    bench = Bench(*ids)
    bench.accounts.refuses = {each: StoreReplyError("ERR never") for each in ids[:290]}
    await bench.look()
    await bench.pass_time(30)
    assert bench.accounts.ids == ids[290:]
    asked = bench.accounts.asked
    await bench.pass_time(30)
    assert bench.accounts.asked == asked


async def test_a_store_that_goes_away_in_the_middle_is_a_gap():
    bench = Bench("req_1", "req_2")
    bench.accounts.refuses = {"req_2": StoreAway("gone")}
    await bench.look()
    await bench.pass_time(30)
    assert bench.accounts.ids == ["req_1"]
    bench.accounts.refuses.clear()
    await bench.pass_time(30)
    assert bench.accounts.ids == ["req_1"]
    await bench.pass_time(5)
    assert bench.accounts.ids == ["req_1", "req_2"]


async def test_an_error_that_passes_is_tried_again():
    bench = Bench("req_1")
    bench.accounts.refuses = {"req_1": StoreReplyError("OOM command not allowed")}
    await bench.look()
    await bench.pass_time(30)
    bench.accounts.refuses.clear()
    await bench.pass_time(35)
    assert bench.accounts.ids == ["req_1"]


def test_charged_is_the_whole_reservation_and_the_store_looks_at_the_lease_again():
    made = charge(reservation("req_1", has_credit=True))
    assert made.only_if_reserved
    assert (made.request_id, made.key_id, made.state) == ("req_1", KEY, "orphaned")
    assert (made.tokens_actual, made.tpm, made.has_credit) == (40, None, True)
    assert made.admitted_ms == 1795424002123
    assert made.counters.cost_nanousd == 9000
    assert LedgerRecord.decode(made.record).alias == "support"


def test_a_basis_of_another_form_is_charged_all_the_same():
    record = LedgerRecord.decode(charge(reservation(basis=b"\xff")).record)
    assert (record.cost_nanousd, record.route, record.alias) == (9000, "other", None)


async def test_it_runs_until_it_is_cancelled_and_a_bug_does_not_end_it():
    bench = Bench("req_1")
    looks = asyncio.Event()

    async def no_pause(_: float) -> None:
        await asyncio.sleep(0)

    def clock() -> float:
        bench.now += 5
        return bench.now

    async def bug(*_: object) -> list[OpenReservation]:
        bench.accounts.overdue = overdue  # type: ignore[method-assign]  # a fault is planted
        looks.set()
        raise KeyError("a bug")

    overdue = bench.accounts.overdue
    bench.accounts.overdue = bug  # type: ignore[method-assign,assignment]  # a fault is planted
    sweeper = Sweeper(bench.accounts, bench.takeover, ("07",), clock=clock, sleep=no_pause)  # type: ignore[arg-type]  # a twin
    task = asyncio.create_task(sweeper.run())
    while not bench.accounts.ids:
        await asyncio.sleep(0)
    assert looks.is_set()
    assert bench.takeover.runs
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
