"""What keeps the ledger whole while nobody calls: replays the dead's journals, sweeps, forgets the old."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from gateway.metering.rejected import Rejected
from gateway.metering.replay import Replayer
from gateway.metering.retention import Retention
from gateway.metering.sweeper import Sweeper
from gateway.metering.takeover import Takeover
from gateway.store.accounts import AccountStore
from gateway.store.client import Store
from gateway.store.keys import ledger
from gateway.store.usage import SHARDS
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import JOURNAL_PENDING, SETTLEMENTS


class LedgerKeeping:
    """Runs in the control process, one in every replica; they do not get in each other's way.

    Args:
        data_dir: of this replica, where its processes keep their journals.
        retention_days: how long records are kept, as it is set now.
        counters: of this process.
        settling: the client that replayed settlements go by, where these wait for replicas. What is swept
            does not: a failover that loses it brings its reservation back, and that is swept again.
    """

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        retention_days: Callable[[], int],
        counters: Counters,
        settling: Store | None = None,
    ) -> None:
        accounts = AccountStore(store)
        folder = data_dir / "journal"
        self._rejected = Rejected(folder, f"{os.getpid()}-{secrets.token_hex(8)}")
        self._sweeper = Sweeper(
            accounts,
            Takeover(
                folder,
                Replayer(AccountStore(store, settling=settling), self._rejected),
                on_pending=lambda n: counters.set(JOURNAL_PENDING, (), n),
            ),
            SHARDS,
            on_settled=lambda state: counters.inc(SETTLEMENTS, (state,)),
        )
        self._retention = Retention(store, [ledger(shard) for shard in SHARDS], retention_days)

    async def run(self) -> None:
        """Keep the ledger until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweeper.run())
            tasks.create_task(self._retention.run())

    async def aclose(self) -> None:
        """Let go of the files; what is left in them is for others."""
        await self._sweeper.aclose()
        await self._rejected.aclose()
