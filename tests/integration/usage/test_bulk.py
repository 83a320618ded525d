"""`bench/bulk.py` leaves in the store what `settle.lua` leaves there."""

from __future__ import annotations

import random
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gateway.limits.values import Settlement
from gateway.metering.record import LedgerRecord
from gateway.store.accounts import AccountStore
from gateway.store.client import Store
from tests.integration.usage.records import KEY_A, KEY_B, KEY_C
from tests.support.valkey import ValkeyServer

BENCH = Path(__file__).parents[3] / "bench"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
CALLS = 300
Left = dict[str, tuple[Any, bool]]
"""By key: what it holds, and whether it expires."""


@pytest.fixture
def bulk(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    import bulk  # noqa: PLC0415 - found through the path above

    return bulk


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    import stores  # noqa: PLC0415 - as above

    return stores


def calls(now_ms: int) -> list[Settlement]:
    """Calls of the last 20 hours: of three keys, of every state that a call ends in, priced and not."""
    draw = random.Random(7)  # noqa: S311 - not for secrets
    found = []
    for number in range(CALLS):
        admitted_ms = now_ms - 20 * HOUR_MS + number * (20 * HOUR_MS // CALLS)
        record = LedgerRecord(
            request_id=f"req_{number}",
            ts=admitted_ms / 1000,
            key=draw.choice([KEY_A, KEY_B, KEY_C]),
            team=draw.choice([None, "red"]),
            alias=draw.choice([None, "support", "sales"]),
            model=draw.choice(["ft:gpt-4o:acme::x", "gpt-4o"]),
            upstream="a",
            route="chat.completions",
            cache=draw.choice([None, "hit", "miss"]),
            state=draw.choice(["exact", "exact", "estimated", "released", "orphaned"]),
            prompt_tokens=draw.choice([None, 0, 100]),
            cached_tokens=draw.choice([None, 40]),
            completion_tokens=draw.randrange(50),
            reasoning_tokens=draw.choice([None, 3]),
            cost_nanousd=draw.choice([None, 0, 1_000_001]),
            saved_nanousd=draw.choice([0, 5]),
            error_type=draw.choice([None, "server_error"]),
        )
        found.append(
            record.settlement(
                admitted_ms=admitted_ms,
                tokens_actual=10,
                has_credit=draw.random() < 0.3,
                was_reserved=False,
            )
        )
    return found


def left_in(valkey: ValkeyServer) -> Left:
    """All that is there: of the ledger its records without the ids, which are times of writing."""
    left: Left = {}
    for name in sorted(valkey.run("KEYS", "*")):
        kind = valkey.run("TYPE", name)
        if kind == b"hash":
            flat = valkey.run("HGETALL", name)
            held: Any = dict(zip(flat[::2], flat[1::2], strict=True))
        elif kind == b"stream":
            held = [fields for _, fields in valkey.run("XRANGE", name, "-", "+")]
        else:
            assert kind == b"string"
            held = valkey.run("GET", name)
        left[name.decode()] = held, valkey.run("PTTL", name) >= 0
    return left


async def by_script(store: Store, settlements: list[Settlement]) -> None:
    accounts = AccountStore(store)
    for settlement in settlements:
        assert await accounts.settle(settlement) == "stored"


def in_bulk(
    bulk: ModuleType, stores: ModuleType, valkey: ValkeyServer, settlements: list[Settlement], now_ms: int
) -> None:
    with stores.Server(str(valkey.path)) as server:
        writer = bulk.BulkLedger(server.send, now_ms)
        for settlement in settlements:
            writer.settle(settlement, settlement.admitted_ms + 900)
        writer.close()
        server.settle()


async def test_the_same_is_left(
    store: Store, valkey: ValkeyServer, bulk: ModuleType, stores: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "_EACH", 90)  # counters are moved more than once
    now_ms = int(time.time() * 1000)
    settlements = calls(now_ms)
    await by_script(store, settlements)
    expected = left_in(valkey)
    valkey.run("FLUSHALL", "SYNC")
    in_bulk(bulk, stores, valkey, settlements, now_ms)
    assert left_in(valkey) == expected
    assert {name.split(":")[1] for name in expected} == {"use", "acct", "mark", "ledger"}


async def test_what_has_expired_is_not_written(
    valkey: ValkeyServer, bulk: ModuleType, stores: ModuleType
) -> None:
    """A hundred days later neither marks nor what keys used in a day or month is left, and the sums are."""
    now_ms = int(time.time() * 1000)
    settlements = calls(now_ms)
    in_bulk(bulk, stores, valkey, settlements, now_ms)
    recent = left_in(valkey)
    valkey.run("FLUSHALL", "SYNC")
    in_bulk(bulk, stores, valkey, settlements, now_ms + 100 * DAY_MS)
    later = left_in(valkey)
    gone = {name for name in recent if ":mark:" in name or (name.count(":") == 3 and ":acct:" in name)}
    assert later == {name: held for name, held in recent.items() if name not in gone}


def test_calls_that_hold_something_are_refused(bulk: ModuleType) -> None:
    [first, *_] = calls(int(time.time() * 1000))
    writer = bulk.BulkLedger(lambda *_: None, first.admitted_ms)
    for fields in ({"was_reserved": True}, {"state": "withdrawn"}):
        changed = Settlement(**{name: getattr(first, name) for name in Settlement.__struct_fields__} | fields)
        with pytest.raises(ValueError, match="hold nothing"):
            writer.settle(changed, first.admitted_ms)
