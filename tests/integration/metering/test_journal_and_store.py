"""Settlements while the store is away: journaled, replayed, in the ledger exactly once."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from gateway.limits.values import Settlement
from gateway.metering.entry import request_id_of
from gateway.metering.journal_file import payloads_in
from gateway.store import keys
from gateway.store.errors import StoreAway
from tests.integration.metering.bench import KEY, SHARD, on_disk, passes
from tests.support.polling import until


async def settle_all(gateway, settlements: list[Settlement]) -> list[str]:
    return await asyncio.gather(*map(gateway.meter.settle, settlements))


async def test_a_store_that_is_there_leaves_no_trace_on_disk(gateway, ledger, folder):
    gateway.start_meter()
    admitted = await gateway.admit("req_1")
    assert ledger.open == ["req_1"]
    assert await gateway.meter.settle(gateway.settlement("req_1", admitted)) == "stored"
    assert await gateway.meter.settle(gateway.settlement("req_1", admitted)) == "duplicate"
    assert ledger.ids == ["req_1"]
    assert (ledger.open, ledger.in_use, ledger.used_nanousd, ledger.held_nanousd) == ([], 0, 4000, 0)
    assert not folder.exists()


async def test_what_a_paused_store_does_not_take_is_journaled_and_replayed_exactly_once(
    gateway, server, ledger, folder
):
    gateway.start_meter()
    ids = [f"req_{number:03d}" for number in range(200)]
    admitted = await asyncio.gather(*(gateway.admit(each) for each in ids[:50]))
    settlements = [gateway.settlement(each, at) for each, at in zip(ids, 4 * admitted, strict=True)]
    server.pause()  # the first settlements reach it, and run when it goes on; nobody hears the answers
    began = time.monotonic()
    fates = [await settle_all(gateway, settlements[:50])]
    assert time.monotonic() - began < 1.5
    fates += [await settle_all(gateway, settlements[start : start + 50]) for start in (50, 100, 150)]
    assert {fate for some in fates for fate in some} == {"journaled"}
    assert sorted(on_disk(folder)) == ids
    assert gateway.journal.pending == 200
    server.resume()
    await until(lambda: gateway.journal.pending == 0, "the replay")
    assert sorted(ledger.ids) == ids
    assert {kind for kind, _ in ledger.entries()} == {"event"}
    assert (ledger.open, ledger.in_use, ledger.used_nanousd) == ([], 0, 200 * 4000)
    await until(lambda: not on_disk(folder), "the end of the journal")
    assert list(folder.iterdir()) == []
    assert gateway.pending[-1] == 0
    assert len(gateway.settled) == 200


async def test_a_store_that_was_killed_gets_it_when_it_is_back(gateway, server, ledger):
    gateway.start_meter()
    admitted = await gateway.admit("req_1")
    server.kill()
    assert await gateway.meter.settle(gateway.settlement("req_1", admitted)) == "journaled"
    await passes(0.2)
    assert gateway.journal.pending == 1
    server.start()
    await until(lambda: gateway.journal.pending == 0, "the replay")
    assert ledger.ids == ["req_1"]
    assert ledger.open == []


async def test_a_long_backlog_is_replayed_in_a_moment(gateway, server, ledger, folder):
    count = 5000
    admitted = await gateway.admit("req")
    server.pause()
    await gateway.meter.settle(gateway.settlement("req", admitted))
    settlements = [gateway.settlement(f"req_{number}", admitted) for number in range(count)]
    await until(
        lambda: gateway.store.state == "away" or gateway.meter.release_unknown(gateway.admission("x"))
    )
    assert set(await settle_all(gateway, settlements)) == {"journaled"}
    server.resume()
    gateway.start_meter()
    await until(lambda: gateway.journal.pending == 0, "the replay", within_s=20)
    assert len(ledger.ids) == len(set(ledger.ids)) == count + 1


async def test_what_the_store_refuses_for_good_is_set_aside_and_the_rest_goes_on(
    gateway, server, ledger, folder
):
    gateway.start_meter()
    first, second = await gateway.admit("req_1"), await gateway.admit("req_2")
    server.run("SET", keys.mark(SHARD, "req_1"), "x")
    server.run("DEL", keys.mark(SHARD, "req_1"))
    server.run("LPUSH", keys.mark(SHARD, "req_1"), "not a mark")
    server.pause()
    with capture_logs() as logs:
        fates = await settle_all(
            gateway, [gateway.settlement("req_1", first), gateway.settlement("req_2", second)]
        )
        assert fates == ["journaled", "journaled"]
        server.resume()
        await until(lambda: gateway.journal.pending == 0, "the replay")
    assert ledger.ids == ["req_2"]
    refused = [line for line in logs if line["log_level"] == "error"]
    assert [line["request_id"] for line in refused] == ["req_1"]
    assert "WRONGTYPE" in refused[0]["reason"]
    rejected = next(folder.glob("*.rejected"))
    assert list(map(request_id_of, payloads_in(rejected))) == ["req_1"]


async def test_a_rejected_file_is_replayed_once_the_cause_is_mended(gateway, control, server, ledger, folder):
    admitted = await gateway.admit("req_1")
    server.run("LPUSH", keys.mark(SHARD, "req_1"), "not a mark")
    assert await gateway.meter.settle(gateway.settlement("req_1", admitted)) == "rejected"
    await gateway.rejected.aclose()
    server.run("DEL", keys.mark(SHARD, "req_1"))
    rejected = next(folder.glob("*.rejected"))
    rejected.rename(rejected.with_suffix(".journal"))
    assert await control.takeover.run()
    assert ledger.ids == ["req_1"]
    assert list(folder.iterdir()) == []


class TestUnknownAdmission:
    """An admission that was not answered may have run, or run later."""

    async def test_it_is_given_back_when_the_store_answers_again(self, gateway, server, ledger):
        gateway.start_meter()
        admission = gateway.admission("req_1")
        server.pause()
        with pytest.raises(StoreAway):
            await gateway.accounts.admit(admission)
        gateway.meter.release_unknown(admission)
        await until(lambda: gateway.journal.pending == 1, "the journal")
        server.resume()
        await until(lambda: gateway.journal.pending == 0, "the replay")
        assert (ledger.open, ledger.in_use, ledger.held_nanousd) == ([], 0, 0)
        assert ledger.ids == []
        assert server.run("EXISTS", keys.mark(SHARD, "req_1")) == 1

    async def test_an_admission_that_comes_after_its_withdrawal_takes_nothing(self, gateway, server, ledger):
        admission = gateway.admission("req_1")
        gateway.meter.release_unknown(admission)
        await until(lambda: server.run("EXISTS", keys.mark(SHARD, "req_1")), "the withdrawal")
        await gateway.accounts.admit(admission)
        assert (ledger.open, ledger.in_use, ledger.held_nanousd) == ([], 0, 0)
        assert ledger.ids == []

    async def test_a_call_that_was_served_all_the_same_is_settled_like_any_other(
        self, gateway, server, ledger
    ):
        gateway.start_meter()
        admission = gateway.admission("req_1")
        server.pause()
        with pytest.raises(StoreAway):
            await gateway.accounts.admit(admission)
        gateway.meter.opened("req_1", KEY)
        server.resume()
        await until(lambda: ledger.open == ["req_1"], "the late admission")
        verdict = await gateway.accounts.admit(admission)  # its time, from the store that has it
        assert await gateway.meter.settle(gateway.settlement("req_1", verdict)) == "stored"
        assert (ledger.open, ledger.in_use, ledger.held_nanousd) == ([], 0, 0)
        assert ledger.ids == ["req_1"]
