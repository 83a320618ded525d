"""Where a settlement goes, by what the store and the disk say. Every row of the table in `meter.py`."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.limits.values import SETTLEMENT_RESULTS, Admission, Bounds, Settlement
from gateway.metering import journal_file
from gateway.metering.entry import decode_entry, request_id_of
from gateway.metering.journal import Journal
from gateway.metering.journal_file import payloads_in
from gateway.metering.meter import Meter
from gateway.metering.rejected import Rejected
from gateway.store.errors import StoreAway, StoreReplyError
from tests.support.polling import until
from tests.unit.metering.made import KEY, FakeAccounts, record, settlement
from tests.unit.metering.test_journal_file import files_up_to


@dataclass
class Accounts(FakeAccounts):
    renewed: list[str] = field(default_factory=list)

    async def renew(self, process: str, calls: Mapping[str, Sequence[str]]) -> int:  # noqa: ARG002  # the port's signature
        if self.is_away:
            raise StoreAway("gone")
        self.renewed = [each for ids in calls.values() for each in ids]
        return len(self.renewed)

    async def beat(self, process: str) -> int:  # noqa: ARG002  # the port's signature
        return 1


class Bench:
    """A meter on a real journal, and all it tells."""

    def __init__(self, folder: Path, *, max_unsaved_bytes: int = 100_000) -> None:
        self.folder = folder
        self.accounts = Accounts()
        self.settled: list[str] = []
        self.errors: list[str] = []
        self.journal = Journal(folder, "w1", retry_s=0.01, max_unsaved_bytes=max_unsaved_bytes)
        self.meter = Meter(
            self.accounts,
            self.journal,
            Rejected(folder, "w1"),
            "w1",
            journal_wait_s=0.2,
            on_settled=self.settled.append,
            on_store_error=self.errors.append,
            renew_every_s=0.01,
            replay_retry_s=0.01,
        )

    def on_disk(self, suffix: str = ".journal") -> list[str]:
        paths = sorted(self.folder.glob(f"*{suffix}"))
        return [request_id_of(payload) for path in paths for payload in payloads_in(path)]


@pytest.fixture
async def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.meter.open()
    yield bench
    bench.accounts.hangs = False
    await bench.meter.aclose(0.1)


async def test_a_store_that_answers_has_it(bench):
    assert await bench.meter.settle(settlement()) == "stored"
    assert await bench.meter.settle(settlement()) == "duplicate"
    assert bench.accounts.ids == ["req_1"]
    assert bench.settled == ["exact", "exact"]
    assert list(bench.folder.iterdir()) == []


@pytest.mark.parametrize("error", [StoreAway("gone"), StoreReplyError("LOADING the dataset")])
async def test_a_store_that_cannot_answer_gets_it_later(bench, error):
    bench.accounts.refuses["req_1"] = error
    assert await bench.meter.settle(settlement()) == "journaled"
    assert bench.on_disk() == ["req_1"]
    assert bench.errors[0] == "settle"
    assert bench.settled == ["exact"]
    bench.accounts.refuses.clear()
    await until(lambda: bench.accounts.ids == ["req_1"], "the replay")
    await until(lambda: not list(bench.folder.iterdir()), "the end of the file")
    assert bench.settled == ["exact"]  # once


@pytest.mark.parametrize("error", [StoreReplyError("ERR never"), TypeError("a bug of ours")])
async def test_what_is_refused_for_good_is_set_aside(bench, error):
    bench.accounts.refuses["req_1"] = error
    with capture_logs() as logs:
        assert await bench.meter.settle(settlement()) == "rejected"
    assert bench.on_disk() == []
    assert bench.on_disk(".rejected") == ["req_1"]
    assert bench.accounts.asked == 1
    assert logs[0]["request_id"] == "req_1"


async def test_what_is_refused_for_good_on_a_full_disk_is_set_aside_when_there_is_room(bench):
    bench.accounts.refuses["req_1"] = StoreReplyError("ERR never")
    with files_up_to(50):
        assert await bench.meter.settle(settlement()) == "unsaved"
    await until(lambda: bench.on_disk(".rejected") == ["req_1"], "the rejected file")
    await until(lambda: not bench.on_disk(), "the end of the journal")


async def test_a_slow_disk_does_not_hold_up_the_stream(bench, monkeypatch):
    bench.accounts.is_away = True
    sync, held = journal_file.os.fsync, threading.Event()

    def slow_sync(descriptor: int) -> None:
        held.wait(5)
        sync(descriptor)

    monkeypatch.setattr(journal_file.os, "fsync", slow_sync)
    began = asyncio.get_running_loop().time()
    assert await bench.meter.settle(settlement()) == "unsaved"
    assert asyncio.get_running_loop().time() - began < 1
    held.set()
    await until(lambda: bench.on_disk() == ["req_1"], "the write")


async def test_a_full_disk_and_no_store_keep_it_in_memory_and_the_store_gets_it_without_the_disk(bench):
    bench.accounts.is_away = True
    with files_up_to(50):
        assert await bench.meter.settle(settlement("req_1")) == "unsaved"
        assert await bench.meter.settle(settlement("req_2")) == "unsaved"
        assert bench.journal.pending == 2
        bench.accounts.is_away = False
        await until(lambda: bench.accounts.ids == ["req_1", "req_2"], "the replay")
        await until(lambda: not bench.journal.pending, "the end of the wait")
    assert list(bench.folder.iterdir()) == []


async def test_with_disk_and_memory_full_it_is_in_the_log_whole(tmp_path):
    bench = Bench(tmp_path, max_unsaved_bytes=100)
    bench.accounts.is_away = True
    with files_up_to(50), capture_logs() as logs:
        assert await bench.meter.settle(settlement("req_1")) == "unsaved"
        assert bench.meter.is_full
        assert await bench.meter.settle(settlement("req_2")) == "lost"
        await bench.meter.aclose(0.01)
    told = [decode_entry(line["entry"].encode()) for line in logs if "entry" in line]
    assert told == [settlement("req_2"), settlement("req_1")]  # the first was hoped for until the end


async def test_a_caller_that_is_cancelled_settles_all_the_same(bench):
    bench.accounts.hangs = True
    task = asyncio.create_task(bench.meter.settle(settlement()))
    await until(lambda: bench.accounts.asked == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.accounts.hangs = False
    await until(lambda: bench.accounts.ids == ["req_1"], "the settlement")


async def test_open_requests_are_renewed_until_they_are_settled(bench):
    bench.meter.opened("req_1", KEY)
    bench.meter.opened("req_2", KEY)
    await until(lambda: bench.accounts.renewed == ["req_1", "req_2"], "the renewal")
    await bench.meter.settle(settlement("req_1"))
    await until(lambda: bench.accounts.renewed == ["req_2"], "the next renewal")


class Call:
    """One that has ended; its settlement is answered as it is told."""

    request_id, state = "req_1", "exact"

    def __init__(self, answers: int | Exception | None) -> None:
        self.answers = answers
        self.asked: list[float] = []

    async def send(self, timeout_s: float) -> int:
        self.asked.append(timeout_s)
        await asyncio.sleep(0)
        if self.answers is None:
            await asyncio.Event().wait()
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers or 0

    def settlement(self) -> Settlement:
        return record().settlement(admitted_ms=1795424002123, tokens_actual=21, tpm=1000)


async def test_a_call_that_has_ended_needs_no_more_than_its_answer(bench):
    bench.meter.opened("req_1", KEY)
    call = Call(SETTLEMENT_RESULTS.index("stored"))
    assert await bench.meter.end(call) == "stored"
    assert (call.asked, bench.settled, bench.accounts.asked) == ([0.25], ["exact"], 0)
    await until(lambda: "req_1" not in bench.accounts.renewed)


async def test_a_store_that_lost_its_scripts_is_asked_as_a_whole(bench):
    assert await bench.meter.end(Call(StoreReplyError("NOSCRIPT No matching script"))) == "stored"
    assert (bench.accounts.settled, bench.settled, bench.errors) == ([settlement()], ["exact"], [])


@pytest.mark.parametrize(
    ("error", "fate"), [(StoreAway("gone"), "journaled"), (StoreReplyError("ERR never"), "rejected")]
)
async def test_a_call_that_the_store_does_not_take_is_kept_like_any_settlement(bench, error, fate):
    bench.accounts.is_away = True
    assert await bench.meter.end(Call(error)) == fate
    assert bench.on_disk(".journal" if fate == "journaled" else ".rejected") == ["req_1"]
    assert (bench.errors[0], bench.settled) == ("settle", ["exact"])


async def test_a_call_that_is_cancelled_while_it_ends_is_settled_all_the_same(bench):
    call = Call(None)
    task = asyncio.create_task(bench.meter.end(call))
    await until(lambda: call.asked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: bench.accounts.ids == ["req_1"], "the settlement")


async def test_an_unknown_admission_is_withdrawn_in_the_background(bench):
    admission = Admission(
        request_id="req_1",
        key_id=KEY,
        revision=3,
        process="w1",
        bounds=Bounds(rpm=10, tpm=1000, concurrency=2),
        tokens=40,
        bound_nanousd=9000,
        has_credit=True,
    )
    bench.meter.opened("req_1", KEY)
    bench.meter.release_unknown(admission)
    await until(lambda: bench.accounts.settled, "the withdrawal")
    withdrawal = bench.accounts.settled[0]
    assert (withdrawal.request_id, withdrawal.key_id, withdrawal.state) == ("req_1", KEY, "withdrawn")
    assert (withdrawal.tokens_actual, withdrawal.tpm, withdrawal.has_credit) == (0, 1000, True)
    assert withdrawal.counters.requests == 0
    assert bench.settled == []  # it is no record
    await until(lambda: "req_1" not in bench.accounts.renewed)


async def test_a_withdrawal_survives_a_store_that_is_away(bench):
    bench.accounts.is_away = True
    bench.meter.release_unknown(
        Admission(request_id="req_1", key_id=KEY, revision=1, process="w1", bounds=Bounds(), tokens=1)
    )
    await until(lambda: bench.on_disk() == ["req_1"], "the journal")
    bench.accounts.is_away = False
    await until(lambda: bench.accounts.ids == ["req_1"], "the withdrawal")


async def test_closing_brings_what_it_can_to_the_store_and_the_rest_to_the_disk(tmp_path):
    bench = Bench(tmp_path)
    bench.accounts.is_away = True
    await bench.meter.settle(settlement("req_1"))
    bench.accounts.is_away = False
    bench.accounts.refuses["req_2"] = StoreAway("gone")
    await bench.meter.settle(settlement("req_2"))
    await bench.meter.aclose()
    assert bench.accounts.ids == ["req_1"]
    assert bench.on_disk() == ["req_2"]


async def test_closing_is_bounded_where_the_store_hangs(tmp_path):
    bench = Bench(tmp_path)
    bench.accounts.is_away = True
    await bench.meter.settle(settlement("req_1"))
    bench.accounts.is_away, bench.accounts.hangs = False, True
    with capture_logs() as logs:
        await bench.meter.aclose(0.05)
    assert bench.on_disk() == ["req_1"]
    assert logs[0]["pending"] == 1
