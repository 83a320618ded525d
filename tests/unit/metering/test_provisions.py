"""Provisions: what is on disk while calls are served that the store does not know."""

import asyncio
import errno
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.limits.values import Admission, Bounds, Settlement
from gateway.metering import journal_file
from gateway.metering.charge import charge_of
from gateway.metering.entry import decode_entry
from gateway.metering.journal import Journal
from gateway.metering.journal_file import payloads_in
from gateway.metering.provisions import Provisions
from gateway.metering.record import Basis
from tests.support.polling import until
from tests.unit.metering.made import KEY

BASIS = Basis(route="chat.completions", alias="support", model="ft:m", upstream="openai").encode()


def provision(request_id: str) -> Settlement:
    admission = Admission(
        request_id=request_id,
        key_id=KEY,
        revision=1,
        process="w1",
        bounds=Bounds(rpm=60, tpm=1000, concurrency=2),
        tokens=100,
        bound_nanousd=9000,
        has_credit=True,
        basis=BASIS,
    )
    return charge_of(admission, 1795424002123)


def on_disk(folder: Path) -> list[Settlement]:
    paths = sorted(folder.iterdir()) if folder.exists() else []
    return [decode_entry(payload) for path in paths for payload in payloads_in(path)]


def ids(folder: Path) -> list[str]:
    return [each.request_id for each in on_disk(folder)]


@pytest.fixture
async def provisions(tmp_path):
    made = Provisions(Journal(tmp_path, "w1-open", retry_s=0.01), wait_s=1.0)
    yield made
    await made.aclose(1)


async def test_it_charges_the_whole_bound_though_the_store_reserved_nothing(provisions, tmp_path):
    await provisions.make(provision("req_1"))

    [charge] = on_disk(tmp_path)
    assert (charge.state, charge.was_reserved, charge.only_if_reserved) == ("orphaned", False, False)
    assert (charge.counters.cost_nanousd, charge.tokens_actual, charge.has_credit) == (9000, 100, True)
    assert (charge.dimensions.alias, charge.dimensions.model) == ("support", "ft:m")


async def test_what_is_settled_leaves_the_disk(provisions, tmp_path):
    await asyncio.gather(*(provisions.make(provision(f"req_{n}")) for n in range(5)))
    for n in range(5):
        provisions.settled(f"req_{n}")
    await until(lambda: not list(tmp_path.iterdir()), "an empty folder")


async def test_what_is_open_stays_and_holds_back_what_was_made_later(provisions, tmp_path):
    for n in range(4):
        await provisions.make(provision(f"req_{n}"))
    for settled in ("req_0", "req_2", "req_3", "req_of_the_store"):
        provisions.settled(settled)
    await until(lambda: ids(tmp_path) == ["req_1", "req_2", "req_3"], "the first to be dropped")
    provisions.settled("req_1")
    await until(lambda: not list(tmp_path.iterdir()), "an empty folder")


async def test_calls_come_and_go(provisions, tmp_path):
    async def call(n: int) -> None:
        await provisions.make(provision(f"req_{n}"))
        assert f"req_{n}" in ids(tmp_path)
        await asyncio.sleep(0)
        provisions.settled(f"req_{n}")

    await asyncio.gather(*map(call, range(50)))
    await provisions.make(provision("last"))
    await until(lambda: ids(tmp_path) == ["last"], "the others to be dropped")


async def test_a_disk_that_refuses_does_not_hold_up_a_call_for_long(tmp_path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal_file.os, "pwrite", full)
    provisions = Provisions(Journal(tmp_path, "w1-open", retry_s=0.01), wait_s=0.02)
    with capture_logs() as lines:
        await provisions.make(provision("req_1"))
        provisions.settled("req_1")
        assert ids(tmp_path) == []
        monkeypatch.undo()
        await provisions.make(provision("req_2"))
        provisions.settled("req_2")
        await until(lambda: not list(tmp_path.iterdir()), "an empty folder")
        await provisions.aclose(1)
    assert lines[0]["event"].startswith("the disk refuses the journal")


async def test_a_journal_that_is_full_is_said_and_serves(tmp_path):
    provisions = Provisions(Journal(tmp_path, "w1-open", max_unsaved_bytes=0))
    with capture_logs() as lines:
        await provisions.make(provision("req_1"))
    provisions.settled("req_1")
    assert [(line["event"], line["request_id"]) for line in lines] == [
        ("a call is served that nobody will know of if this process dies", "req_1")
    ]
    await provisions.aclose(1)
