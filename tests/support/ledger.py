"""What a test reads of the store: the ledger's records, and what is still open."""

from __future__ import annotations

import asyncio
import time

from gateway.auth.virtual_key import split_key
from gateway.metering.record import LedgerRecord
from gateway.store.client import Store
from gateway.store.keys import key_account, key_limits, leases, ledger, reservations
from gateway.telemetry.metrics import Metric
from tests.support.gateway import RunningGateway

NOTHING_HELD = {"reservations": 0, "leases": 0, "calls": 0, "nanousd": 0}


def id_of(key: str) -> str:
    """The id in the text of a virtual key."""
    split = split_key(key)
    assert split is not None
    return split[0]


async def entries(store: Store, key: str) -> list[tuple[str, LedgerRecord]]:
    """What the ledger holds of a key, oldest first: ("event" or "correction", record)."""
    found = []
    for _, pairs in await store.call("XRANGE", ledger(key_shard(key)), "-", "+"):
        fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
        record = LedgerRecord.decode(fields[b"r"])
        if record.key == id_of(key):
            found.append((fields[b"t"].decode(), record))
    return found


async def records(store: Store, key: str, count: int = 1, *, within_s: float = 5.0) -> list[LedgerRecord]:
    """The records of a key once there are `count` of them: no more of them, and nothing corrected."""
    deadline = time.monotonic() + within_s
    while len(found := await entries(store, key)) < count:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.005)
    assert [kind for kind, _ in found] == ["event"] * count
    return [record for _, record in found]


async def the_record(store: Store, key: str) -> LedgerRecord:
    """The one record of a key's one call, which holds nothing any more."""
    (record,) = await records(store, key)
    assert await held(store, key) == NOTHING_HELD
    return record


async def held(store: Store, key: str) -> dict[str, int]:
    """What is held now: open reservations and leases of the key's shard, calls and money of the key."""
    shard = key_shard(key)
    return {
        "reservations": await store.call("HLEN", reservations(shard)),
        "leases": await store.call("ZCARD", leases(shard)),
        "calls": int(await store.call("HGET", key_limits(id_of(key)), "open") or 0),
        "nanousd": int(await store.call("HGET", key_account(id_of(key)), "held") or 0),
    }


def key_shard(key: str) -> str:
    """The shard that a key lives in."""
    return id_of(key)[:2]


def counted(gateway: RunningGateway, metric: Metric) -> dict[tuple[str, ...], float]:
    """What a worker's counter or gauge stands at, by label values."""
    found = gateway.worker.counters.totals()[f"{metric.kind}s"].get(metric.name, [])
    return {tuple(labels): value for labels, value in found}
