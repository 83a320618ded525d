"""Old ledger records go, all others stay."""

import asyncio
import contextlib
import time

from structlog.testing import capture_logs

from gateway.metering import retention as retention_module
from gateway.metering.retention import Retention
from gateway.store import keys
from gateway.store.client import Store

DAY_MS = 86_400_000


async def fill(store: Store, shard: str, *ages_days: float) -> None:
    now = int(time.time() * 1000)
    await store.call_many(
        [
            ("XADD", keys.ledger(shard), f"{now - int(age * DAY_MS)}-{number}", "t", "event", "r", "{}")
            for number, age in enumerate(ages_days)
        ]
    )


async def kept(store: Store, shard: str) -> int:
    return int(await store.call("XLEN", keys.ledger(shard)))


def retention(store: Store, days: int) -> Retention:
    return Retention(store, [keys.ledger("07"), keys.ledger("08"), keys.ledger("09")], lambda: days)


async def test_what_is_older_goes_to_the_record(store):
    await fill(store, "07", 91, 90.01, 89.99, 1.01)
    await fill(store, "08", 200, 100)
    assert await retention(store, 90).trim() == 4
    assert (await kept(store, "07"), await kept(store, "08")) == (2, 0)
    assert await retention(store, 90).trim() == 0
    assert await retention(store, 1).trim() == 2


async def test_much_goes_piece_by_piece(store, monkeypatch):
    monkeypatch.setattr(retention_module, "PIECE", 500)
    await fill(store, "07", *(100 - number / 1000 for number in range(2750)), 1)
    assert await retention(store, 90).trim() == 2750
    assert await kept(store, "07") == 1


async def test_a_retention_beyond_the_beginning_of_time_keeps_all(store):
    await fill(store, "07", 1000)
    assert await retention(store, 10**6).trim() == 0
    assert await kept(store, "07") == 1


async def test_it_runs_again_and_again_and_one_stream_does_not_stop_the_others(store, monkeypatch):
    monkeypatch.setattr(retention_module, "PIECE", 100)
    await fill(store, "07", *(100 - number / 1000 for number in range(350)))
    await store.call("SET", keys.ledger("08"), "no stream")
    pauses = 0

    async def sleep(_: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 3:
            raise asyncio.CancelledError
        await store.call("DEL", keys.ledger("08"))
        await fill(store, "09", 100 - pauses)  # a stream takes no older entry than its last

    runner = Retention(store, [keys.ledger(shard) for shard in ("07", "08", "09")], lambda: 90, sleep=sleep)
    with capture_logs() as logs, contextlib.suppress(asyncio.CancelledError):
        await runner.run()
    assert [line["log_level"] for line in logs] == ["warning", "info", "info"]
    assert [line.get("records") for line in logs] == [None, 1, 1]
    assert await kept(store, "07") == 0
