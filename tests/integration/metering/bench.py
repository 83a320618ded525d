"""One process's share of metering on a real server whose clock runs a hundred times as fast."""

import asyncio
import dataclasses
import json
import time
from pathlib import Path

from gateway.limits.values import Admission, Admitted, Bounds, Settlement
from gateway.metering.entry import request_id_of
from gateway.metering.journal import Journal
from gateway.metering.journal_file import payloads_in
from gateway.metering.meter import Meter
from gateway.metering.record import Basis, LedgerRecord
from gateway.metering.rejected import Rejected
from gateway.metering.replay import Replayer
from gateway.metering.sweeper import Sweeper
from gateway.metering.takeover import Takeover
from gateway.store import keys
from gateway.store.account_scripts import AccountScripts
from gateway.store.accounts import AccountStore
from gateway.store.client import Store, pairs, settling_store
from tests.support.valkey import ValkeyServer

KEY = "07abcdefghij"
SHARD = KEY[:2]
FASTER = 100
LEASE_S = 30 / FASTER
FAST_CLOCK = f"""
local function now_ms()
  local time = redis.call('TIME')
  local us = (time[1] % 100000) * 1000000 + time[2]
  return 1700000000000 + math.floor(us * {FASTER} / 1000)
end
"""
SCRIPTS = AccountScripts.load(FAST_CLOCK)
SHARDS = tuple(f"{number:02d}" for number in range(64))
BOUNDS = Bounds(rpm=100_000, tpm=10_000_000, concurrency=10_000)


class Ledger:
    """What stands in a server, read beside the code under test."""

    def __init__(self, server: ValkeyServer) -> None:
        self._server = server

    def entries(self) -> list[tuple[str, LedgerRecord]]:
        """Kind and record of each entry."""
        found = []
        for _, fields in self._server.run("XRANGE", keys.ledger(SHARD), "-", "+"):
            values = pairs(fields)
            found.append((values[b"t"].decode(), LedgerRecord.decode(values[b"r"])))
        return found

    @property
    def ids(self) -> list[str]:
        return [record.request_id for _, record in self.entries()]

    @property
    def states(self) -> dict[str, str]:
        return {record.request_id: record.state for _, record in self.entries()}

    @property
    def used_nanousd(self) -> int:
        return int(self._server.run("HGET", keys.key_account(KEY), "cost_nanousd") or 0)

    @property
    def held_nanousd(self) -> int:
        return int(self._server.run("HGET", keys.key_account(KEY), "held") or 0)

    @property
    def open(self) -> list[str]:
        """Requests that hold a reservation."""
        reserved = self._server.run("HKEYS", keys.reservations(SHARD))
        assert sorted(reserved) == sorted(self._server.run("ZRANGE", keys.leases(SHARD), 0, -1))
        return sorted(each.decode() for each in reserved)

    @property
    def in_use(self) -> int:
        return int(self._server.run("HGET", keys.key_limits(KEY), "open") or 0)


class Gateway:
    """What one process has of all this. `worker` names it; its settlements wait for so many `replicas`."""

    def __init__(self, url: str, folder: Path, worker: str, *, replicas: int = 0) -> None:
        self.worker = worker
        self.folder = folder
        self.store = Store(url, timeout_s=0.1)
        self.settling = settling_store(url, replicas=replicas, within_s=0.1)
        self.accounts = AccountStore(self.store, SCRIPTS, settling=self.settling)
        self.settled: list[str] = []
        self.pending: list[int] = []
        self.journal = Journal(folder, worker, on_pending=self.pending.append, retry_s=0.02)
        self.rejected = Rejected(folder, worker)
        self.meter = Meter(
            self.accounts,
            self.journal,
            self.rejected,
            worker,
            settle_timeout_s=0.1,
            journal_wait_s=10,
            on_settled=self.settled.append,
            renew_every_s=LEASE_S / 3,
            replay_retry_s=0.02,
        )
        self.takeover = Takeover(folder, Replayer(self.accounts, self.rejected))
        self.sweeper = Sweeper(self.accounts, self.takeover, SHARDS, tick_s=LEASE_S / 6, unbroken_s=LEASE_S)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False

    async def open(self) -> None:
        await self.store.open()
        if self.settling is not None:
            await self.settling.open()

    def start_meter(self) -> None:
        self.meter.open()

    def start_sweeper(self) -> None:
        self._tasks.append(asyncio.create_task(self.sweeper.run()))

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.meter.aclose(0.2)
        await self.sweeper.aclose()
        if self.settling is not None:
            await self.settling.aclose()
        await self.store.aclose()

    def admission(self, request_id: str, *, tokens: int = 100, bound_nanousd: int = 9000) -> Admission:
        return Admission(
            request_id=request_id,
            key_id=KEY,
            revision=1,
            process=self.worker,
            bounds=BOUNDS,
            tokens=tokens,
            bound_nanousd=bound_nanousd,
            has_credit=True,
            basis=Basis(route="chat.completions", alias="support", model="m", upstream="openai").encode(),
        )

    async def admit(self, request_id: str) -> Admitted:
        """Admit a request and keep its reservation, as the pipeline does."""
        verdict = await self.accounts.admit(self.admission(request_id), timeout_s=5)
        assert isinstance(verdict, Admitted), verdict
        self.meter.opened(request_id, KEY)
        return verdict

    def settlement(self, request_id: str, admitted: Admitted, *, cost_nanousd: int = 4000) -> Settlement:
        record = LedgerRecord(
            request_id=request_id,
            ts=admitted.at_ms / 1000,
            key=KEY,
            route="chat.completions",
            state="exact",
            prompt_tokens=9,
            completion_tokens=12,
            cost_nanousd=cost_nanousd,
            usage_source="upstream",
        )
        return record.settlement(
            admitted_ms=admitted.at_ms, tokens_actual=21, tpm=BOUNDS.tpm, has_credit=True
        )


def prepare(server: ValkeyServer) -> None:
    """A key with credit, and the scripts: what reaches a paused server shall run when it goes on."""
    for script in dataclasses.astuple(SCRIPTS):
        server.run("SCRIPT", "LOAD", script[1])
    server.run("HSET", keys.key_record(KEY), "rev", 1, "record", json.dumps({"id": KEY}))
    server.run("HSET", keys.key_account(KEY), "granted", 10**12)


async def passes(seconds: float) -> None:
    """Let time pass, where that nothing happens is what is tested."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        await asyncio.sleep(0.01)


def on_disk(folder: Path) -> list[str]:
    """The requests whose settlements wait in journals."""
    paths = sorted(folder.iterdir()) if folder.exists() else []
    return [request_id_of(payload) for path in paths for payload in payloads_in(path)]
