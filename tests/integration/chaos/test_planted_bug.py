"""A settlement without idempotence, in the real script on a real store, does not get past the checker."""

import json
from dataclasses import replace

import pytest

from gateway.limits.values import Admission, Admitted, Bounds
from gateway.metering.record import AttemptRecord, LedgerRecord
from gateway.store import account_scripts, keys
from gateway.store.account_scripts import AccountScripts
from gateway.store.accounts import AccountStore
from gateway.store.client import Store
from tests.chaos.kit.checker import Account, ClientCall, Dispatch, Entry, Logs, Prices, check

KEY_ID = "07abcdefghij"
SHARD = KEY_ID[:2]
REQUEST_ID, TOKEN = "req_1", "t1"
THE_CHECK = "if known and (known == 'withdrawn' or RANK[state] <= RANK[known]) then"


def without_the_check(monkeypatch: pytest.MonkeyPatch) -> AccountScripts:
    """The scripts, settlement without its look at what was settled before."""
    text_of = account_scripts._text

    def planted(name: str) -> str:
        text = text_of(name)
        if name == "settle":
            assert THE_CHECK in text
            text = text.replace(THE_CHECK, "known = false\nif known then")
        return text

    monkeypatch.setattr(account_scripts, "_text", planted)
    return AccountScripts.load()


async def settle_twice(accounts: AccountStore, store: Store) -> None:
    """What a worker does whose settlement was stored, but not answered in time."""
    await store.call("HSET", keys.key_record(KEY_ID), "record", "{}", "rev", 1)
    admission = Admission(
        request_id=REQUEST_ID, key_id=KEY_ID, revision=1, process="p1", bounds=Bounds(), tokens=13
    )
    admitted = await accounts.admit(admission)
    assert isinstance(admitted, Admitted)
    attempt = AttemptRecord(
        upstream="up",
        model="m",
        outcome="committed",
        state="exact",
        prompt_tokens=10,
        completion_tokens=3,
        cost_nanousd=16_000,
    )
    record = LedgerRecord(
        request_id=REQUEST_ID,
        upstream_request_id=TOKEN,
        ts=admitted.at_ms / 1000,
        key=KEY_ID,
        route="chat.completions",
        state="exact",
        attempts=(attempt,),
        prompt_tokens=10,
        completion_tokens=3,
        cost_nanousd=16_000,
    )
    settlement = record.settlement(admitted_ms=admitted.at_ms, tokens_actual=13)
    await accounts.settle(settlement)
    await accounts.settle(settlement)


async def logs_of(store: Store) -> Logs:
    """As a run of chaos would have them: one call, acknowledged."""
    entries = []
    for _, flat in await store.call("XRANGE", keys.ledger(SHARD), "-", "+"):
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        entries.append(Entry(fields[b"t"].decode(), json.loads(fields[b"r"])))
    used = int(await store.call("HGET", keys.key_account(KEY_ID), "cost_nanousd"))
    call = ClientCall(
        TOKEN, KEY_ID, stream=False, request_id=REQUEST_ID, status=200, acknowledged=True, relayed=3
    )
    return Logs(
        calls=[call],
        dispatches=[Dispatch(TOKEN, 1, 3, told_usage=True)],
        entries=entries,
        accounts=[Account(KEY_ID, used, 0)],
        open_reservations=await store.call("ZCARD", keys.leases(SHARD)),
        counted=(1, 16_000),
        prices=Prices(1_000, 2_000),
    )


async def test_the_real_settlement_passes(store: Store) -> None:
    await settle_twice(AccountStore(store), store)
    assert check(await logs_of(store)).violations == []


async def test_one_without_idempotence_does_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await settle_twice(AccountStore(store, without_the_check(monkeypatch)), store)
    logs = await logs_of(store)
    assert check(logs).by_kind == {"doubled": 1, "budget": 1}
    assert check(replace(logs, entries=logs.entries[:1])).by_kind == {"budget": 1}
