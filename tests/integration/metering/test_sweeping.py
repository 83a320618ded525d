"""Reservations of the living are kept, those of the dead are charged, and the truth corrects it."""

import asyncio
import time

import msgspec

from gateway.limits.values import Admitted
from gateway.metering.charge import charge_of
from gateway.metering.journal import Journal
from gateway.metering.provisions import Provisions
from gateway.store import keys
from tests.integration.metering.bench import KEY, LEASE_S, SHARD, Gateway, passes
from tests.support.polling import until


async def test_renewals_keep_a_long_request_alive_across_leases(gateway, control, ledger):
    gateway.start_meter()
    control.start_sweeper()
    admitted = await gateway.admit("req_1")
    await passes(4 * LEASE_S)
    assert ledger.open == ["req_1"]
    assert ledger.in_use == 1
    assert ledger.ids == []
    assert await gateway.meter.settle(gateway.settlement("req_1", admitted)) == "stored"
    assert ledger.states == {"req_1": "exact"}


async def test_what_a_dead_process_left_is_charged_within_two_leases(gateway, control, ledger):
    gateway.start_meter()
    control.start_sweeper()
    ids = [f"req_{number}" for number in range(20)]
    await asyncio.gather(*map(gateway.admit, ids))
    assert (ledger.held_nanousd, ledger.in_use) == (20 * 9000, 20)
    began = time.monotonic()
    await gateway.aclose()  # nobody renews any more
    await until(lambda: len(ledger.ids) == 20, "the sweep")
    assert time.monotonic() - began < 2 * LEASE_S
    assert ledger.states == dict.fromkeys(ids, "orphaned")
    assert (ledger.open, ledger.used_nanousd, ledger.held_nanousd, ledger.in_use) == ([], 20 * 9000, 0, 0)
    _, record = ledger.entries()[0]
    assert (record.usage_source, record.alias, record.upstream) == ("reservation", "support", "openai")


async def test_a_true_figure_that_comes_after_all_corrects_the_charge(gateway, control, server, ledger):
    admitted = await gateway.admit("req_1")  # its meter does not run: nobody renews
    control.start_sweeper()
    await until(lambda: ledger.states == {"req_1": "orphaned"}, "the sweep")
    assert await gateway.meter.settle(gateway.settlement("req_1", admitted)) == "corrected"
    assert [kind for kind, _ in ledger.entries()] == ["event", "correction"]
    assert ledger.states == {"req_1": "exact"}
    assert ledger.used_nanousd == 4000
    assert int(server.run("HGET", keys.key_account(KEY), "spent")) == 4000
    assert await gateway.meter.settle(gateway.settlement("req_1", admitted)) == "duplicate"
    assert ledger.used_nanousd == 4000


async def test_the_journal_of_the_dead_comes_before_the_charge(gateway, control, server, ledger):
    first = await gateway.admit("req_1")
    await gateway.admit("req_2")
    server.pause()
    assert await gateway.meter.settle(gateway.settlement("req_1", first)) == "journaled"
    await gateway.aclose()
    await passes(LEASE_S)  # both are overdue when the store is back
    control.start_sweeper()
    server.resume()
    await until(lambda: len(ledger.ids) == 2, "the sweep")
    assert ledger.states == {"req_1": "exact", "req_2": "orphaned"}
    assert [kind for kind, _ in ledger.entries()] == ["event", "event"]
    assert ledger.used_nanousd == 4000 + 9000


async def test_what_a_living_process_has_journaled_is_not_charged(gateway, control, ledger):
    admitted = await gateway.admit("req_1")
    await gateway.admit("req_2")
    await gateway.store.aclose()  # it lives, and does not reach the store
    assert await gateway.meter.settle(gateway.settlement("req_1", admitted)) == "journaled"
    control.start_sweeper()
    await until(lambda: ledger.states == {"req_2": "orphaned"}, "the sweep")
    await passes(LEASE_S)
    assert ledger.open == ["req_1"]
    await gateway.aclose()  # now it is dead
    await until(lambda: ledger.states == {"req_1": "exact", "req_2": "orphaned"}, "the replay")
    assert ledger.open == []


async def test_nothing_is_charged_while_the_store_comes_and_goes(gateway, control, server, ledger):
    await gateway.admit("req_1")
    control.start_sweeper()
    for _ in range(4):
        await passes(LEASE_S / 3)
        server.pause()
        await passes(0.15)
        server.resume()
    assert ledger.ids == []
    await until(lambda: ledger.states == {"req_1": "orphaned"}, "the sweep")


async def test_two_sweepers_charge_once(gateway, control, server, folder, ledger):
    await asyncio.gather(*(gateway.admit(f"req_{number}") for number in range(30)))
    other = Gateway(server.url, folder, "control-2")
    await other.open()
    control.start_sweeper()
    other.start_sweeper()
    await until(lambda: len(ledger.ids) == 30, "the sweep")
    await passes(LEASE_S)
    assert len(ledger.ids) == 30
    assert ledger.used_nanousd == 30 * 9000
    await other.aclose()


async def test_a_process_that_slept_through_its_leases_still_settles(gateway, control, ledger):
    gateway.start_meter()
    admitted = await gateway.admit("req_1")
    renewals = gateway.meter._running[0]
    renewals.cancel()  # as a machine does that sleeps
    control.start_sweeper()
    await until(lambda: ledger.states == {"req_1": "orphaned"}, "the sweep")
    assert await gateway.meter.settle(gateway.settlement("req_1", admitted)) == "corrected"
    assert ledger.used_nanousd == 4000


async def test_a_mass_death_is_swept_in_one_go(gateway, control, server, ledger):
    server.run("HSET", keys.key_account(KEY), "granted", 10**15)
    count = 2000
    await asyncio.gather(*(gateway.admit(f"req_{number}") for number in range(count)))
    await passes(LEASE_S)
    assert len(ledger.open) == count
    control.start_sweeper()
    began = time.monotonic()
    await until(lambda: len(ledger.ids) == count, "the sweep", within_s=10)
    assert time.monotonic() - began < 5
    assert (ledger.used_nanousd, ledger.held_nanousd) == (count * 9000, 0)
    assert server.run("ZCARD", keys.leases(SHARD)) == 0


async def test_what_a_dead_process_served_without_the_store_is_charged(gateway, control, ledger, folder):
    provisions = Provisions(Journal(folder, "w1-open"))
    for name in ("req_lost", "req_told"):
        await provisions.make(charge_of(gateway.admission(name), 1_700_000_000_000))
    admitted = Admitted(at_ms=1_700_000_000_000, rpm=None, tpm=None, in_use=1)
    told = msgspec.structs.replace(gateway.settlement("req_told", admitted), was_reserved=False)
    assert await gateway.meter.settle(told) == "stored"
    control.start_sweeper()
    await passes(LEASE_S)
    assert ledger.states == {"req_told": "exact"}  # its process lives
    await provisions.aclose(1)  # now it is dead, before it could drop what is settled
    await until(lambda: len(ledger.ids) == 2, "the replay")
    assert ledger.states == {"req_told": "exact", "req_lost": "orphaned"}
    assert ledger.used_nanousd == 4000 + 9000
    await until(lambda: not list(folder.iterdir()), "an empty folder")
