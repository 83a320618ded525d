"""Accounts of all 64 shards on three nodes: every script, every repository, and slots that move meanwhile."""

import asyncio
import time
from importlib import resources
from typing import Self

import pytest

from gateway.auth.record import KeyRecord
from gateway.limits.values import Admission, Admitted, Bounds, Budget, Refused
from gateway.metering.record import LedgerRecord
from gateway.metering.retention import Retention
from gateway.store import keys
from gateway.store.account_scripts import AccountScripts
from gateway.store.accounts import AccountStore
from gateway.store.client import Script, Store, StoreAway
from gateway.store.key_repository import KeyRepository
from gateway.store.secret_repository import SecretRepository
from gateway.store.slots import slot_of
from gateway.store.usage import SHARDS, Bucket, UsageReader
from gateway.store.usage_audit import AuditStore
from gateway.store.usage_events import START, LedgerReader
from tests.support.polling import until
from tests.support.valkey_cluster import ClusterNode, ValkeyCluster

KEYS = [f"{shard}abcdefghij" for shard in SHARDS]
KEY = KEYS[7]
BOUNDS = Bounds(rpm=10**6, tpm=10**8, concurrency=1000)
BUDGET = Budget(limit_nanousd=10**12, period="month")
ELSEWHERE = {"alias_revise", "alias_move", "discovered_write"}  # test_control.py has these


def admission(key_id: str, request_id: str, bounds: Bounds = BOUNDS) -> Admission:
    return Admission(
        request_id=request_id,
        key_id=key_id,
        revision=1,
        process="p1",
        bounds=bounds,
        tokens=100,
        bound_nanousd=9000,
        budget=BUDGET,
        has_credit=True,
        basis=b"{}",
    )


def record(key_id: str, request_id: str, at_ms: int) -> LedgerRecord:
    return LedgerRecord(
        request_id=request_id,
        ts=at_ms / 1000,
        key=key_id,
        route="chat.completions",
        state="exact",
        prompt_tokens=9,
        completion_tokens=12,
        cost_nanousd=4000,
        usage_source="upstream",
    )


async def serve(accounts: AccountStore, key_id: str, request_id: str) -> None:
    """One call from its admission to its settlement."""
    admitted = await accounts.admit(admission(key_id, request_id))
    assert isinstance(admitted, Admitted), admitted
    assert await accounts.settle(settlement(key_id, request_id, admitted)) == "stored"


def settlement(key_id, request_id, admitted):
    return record(key_id, request_id, admitted.at_ms).settlement(
        admitted_ms=admitted.at_ms, tokens_actual=21, tpm=BOUNDS.tpm, has_credit=True
    )


async def make_keys(store: Store) -> None:
    """A key in each shard, with credit."""
    repository, accounts = KeyRepository(store), AccountStore(store)
    records = [KeyRecord(id=key_id, name="tests", digests=(), created_at=1) for key_id in KEYS]
    made = await asyncio.gather(*(repository.create(each, at) for at, each in enumerate(records)))
    assert all(made)
    left = await asyncio.gather(*(accounts.add_credit(key_id, 10**9, grant_id="g") for key_id in KEYS))
    assert left == [10**9] * len(KEYS)


async def test_every_script_and_every_repository(store, valkey):
    for node in valkey.nodes:
        node.run("CONFIG", "RESETSTAT")
    accounts, repository = AccountStore(store), KeyRepository(store)
    await make_keys(store)
    assert await repository.ids_newest_first(after=KEYS[10], count=3) == KEYS[9:6:-1]
    assert [each.record.id for each in await repository.get_many(KEYS)] == KEYS
    secrets = SecretRepository(store)
    assert await secrets.offer_admin_key("k")
    assert await secrets.gateway_secret("fresh") == await secrets.gateway_secret("fresher") == b"fresh"

    verdicts = await asyncio.gather(*(accounts.admit(admission(key, f"r-{key}")) for key in KEYS))
    assert all(isinstance(each, Admitted) and each.credit_nanousd == 10**9 - 9000 for each in verdicts)
    again = await accounts.admit(admission(KEY, "second", Bounds(concurrency=1)))
    assert isinstance(again, Refused)
    assert again.reason == "concurrency"
    assert await accounts.renew("p1", {key: [f"r-{key}", "unknown"] for key in KEYS}) == len(KEYS)
    assert [await accounts.overdue(shard) for shard in SHARDS] == [[]] * len(SHARDS)
    assert [await accounts.beat(name) for name in ("p1", "p2", "p1")] == [1, 2, 2]

    ends = [settlement(key, f"r-{key}", at) for key, at in zip(KEYS, verdicts, strict=True)]
    assert set(await asyncio.gather(*map(accounts.settle, ends))) == {"stored"}
    assert set(await asyncio.gather(*map(accounts.settle, ends))) == {"duplicate"}
    views = await asyncio.gather(*(accounts.account(key, BOUNDS) for key in KEYS))
    assert {(each.in_use, each.credit_nanousd) for each in views} == {(0, 10**9 - 4000)}

    await read_all(store)
    await trim_all(store)
    await until(lambda: every_script_was_seen(valkey))
    stats = [node.info("errorstats") for node in valkey.nodes]
    assert {code for each in stats for code in each} <= {"errorstat_NOSCRIPT"}
    assert all(node.run("DBSIZE") > 20 for node in valkey.nodes)


async def read_all(store: Store) -> None:
    """The ledger, the counters and their audit, over all shards."""
    events = await LedgerReader(store).read(dict.fromkeys(SHARDS, START), 10)
    assert [len(events[shard]) for shard in SHARDS] == [1] * len(SHARDS)
    assert len(await LedgerReader(store).ends()) == len(SHARDS)
    days = {time.strftime("%Y%m%d", time.gmtime(time.time() - back)) for back in (0, 3600)}
    buckets = [Bucket(shard, "day", day) for shard in SHARDS for day in days]
    reader, audit = UsageReader(store), AuditStore(store)
    there = await reader.existing(buckets)
    assert len(there) == len(SHARDS)
    found = {bucket: counters async for bucket, counters in reader.counters(buckets)}
    assert set(found) == set(there)
    assert sum(len(each) for each in (await audit.virtual_keys()).values()) == len(KEYS)
    for bucket, counters in found.items():
        (name,) = (name for name in counters if name.endswith(b"\x1fcost_nanousd"))
        moment = await audit.at_once(bucket, [name], token="t")  # no secret
        assert moment.figures == [4000]
        assert await audit.repair(bucket, {name: 1}, token="t", lives_ms=0)
        assert await store.call("HGET", bucket.store_key, name) == b"4001"


async def trim_all(store: Store) -> None:
    """The ledgers' records, of which one shard has an old one."""
    await store.call("DEL", keys.ledger("63"))
    await store.call("XADD", keys.ledger("63"), "1-1", "t", "event", "r", "{}")
    assert await Retention(store, [keys.ledger(shard) for shard in SHARDS], lambda: 90).trim() == 1
    assert await store.call("XLEN", keys.ledger("62")) == 1


def every_script_was_seen(cluster: ValkeyCluster) -> bool:
    """Whether each script of ours is known to some node."""
    files = resources.files("gateway.store").joinpath("lua").iterdir()
    names = {each.name.removesuffix(".lua") for each in files if each.name.endswith(".lua")}
    accounts = AccountScripts.load()
    for name in names - ELSEWHERE - {each for each in names if each.startswith("cache_")}:
        script = getattr(accounts, name, None) or Script.load(name)
        assert any(node.run("SCRIPT", "EXISTS", script.sha) == [1] for node in cluster.nodes), name
    return True


class Callers:
    """Calls that are served one after the other while something happens; `served` of each key."""

    def __init__(self, store: Store, *key_ids: str) -> None:
        self.served = dict.fromkeys(key_ids, 0)
        self._accounts = AccountStore(store)
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._call(key)) for key in self.served]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def further(self, calls: int) -> None:
        targets = {key: served + calls for key, served in self.served.items()}

        def is_so() -> bool:
            has_failed = any(task.done() for task in self._tasks)  # of what, the end of `async with` tells
            return has_failed or all(self.served[key] >= count for key, count in targets.items())

        await until(is_so, "calls", within_s=20)

    async def _call(self, key: str) -> None:
        while not self._is_over:
            await serve(self._accounts, key, f"{key}-{self.served[key]}")
            self.served[key] += 1


def shard_between(cluster: ValkeyCluster) -> tuple[int, ClusterNode, ClusterNode]:
    """The slot of `KEY`'s shard, its node, and another one."""
    slot = slot_of(("GET", keys.key_account(KEY)))
    assert slot is not None
    source = cluster.primary_of(slot)
    return slot, source, next(node for node in cluster.nodes if node is not source)


async def test_a_shard_moves_as_a_whole_and_no_call_notices(store, valkey):
    await make_keys(store)
    slot, source, target = shard_between(valkey)
    async with Callers(store, KEY, KEYS[8], KEYS[30]) as callers:
        for start, end in ((source, target), (target, source)):
            await callers.further(50)
            start.run("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", end.node_id)
            await until(lambda end=end: valkey.primary_of(slot) is end, "the move", within_s=10)
            await callers.further(50)
    for key, served in callers.served.items():
        assert await store.call("XLEN", keys.ledger(key[:2])) == served
        assert int(await store.call("HGET", keys.key_account(key), "spent")) == 4000 * served
        assert await store.call("HLEN", keys.reservations(key[:2])) == 0


@pytest.mark.parametrize("moved", [0, 2], ids=["nothing-moved", "half-moved"])
async def test_a_shard_that_moves_key_by_key_is_away_until_it_has_moved(store, valkey, moved):
    await make_keys(store)
    await serve(AccountStore(store), KEY, "before")
    hasty = Store(valkey.url, timeout_s=0.05)
    await hasty.open()
    accounts = AccountStore(hasty)
    slot, source, target = shard_between(valkey)
    valkey.begin_move(slot, source, target)
    if moved:
        valkey.move_keys(slot, source, target, moved)
    with pytest.raises(StoreAway, match="TRYAGAIN"):
        await accounts.admit(admission(KEY, "during"))
    await serve(accounts, KEYS[8], "during")
    assert hasty.state == "up"
    valkey.move(slot, source, target)
    await serve(accounts, KEY, "during")
    assert await store.call("XLEN", keys.ledger(KEY[:2])) == 2
    await hasty.aclose()
    valkey.move(slot, target, source)
