"""Brings settlements from a journal into the store.

Replaying twice does no harm: the store knows for a day which requests are settled. What comes back:

    stored, duplicate, corrected, absent   done
    no answer, or an error that passes     stop here; everything from this entry on stays
    any other error                        done: the entry goes to the rejected file

Errors that pass are a server's that cannot serve now (loading, full, failing over, locked to us). Any other
one would come again for ever, and must not hold up what stands behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from gateway.limits.values import Settlement, SettlementResult
from gateway.metering.entry import decode_entry
from gateway.metering.journal_file import Batch
from gateway.store.errors import StoreAway, StoreReplyError

BATCH = 128
TIMEOUT_S = 2.0
"""Nobody waits for a replayed settlement, so a slow answer beats none."""

_PASSING = frozenset(
    (
        *("ASK", "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "MOVED", "NOAUTH", "NOPERM"),
        *("NOREPLICAS", "OOM", "READONLY", "TRYAGAIN", "UNKILLABLE", "WRONGPASS"),
    )
)

log = structlog.get_logger(__name__)


class Settling(Protocol):
    """The store's side of a settlement."""

    async def settle(self, settlement: Settlement, *, timeout_s: float | None = None) -> SettlementResult:
        """Settle a request, once however often this is called. Raises `StoreError`."""


class Rejecting(Protocol):
    """Keeps what the store will never take."""

    async def keep(self, payload: bytes, settlement: Settlement | None, error: Exception) -> None:
        """Return once it is on disk. Raises `OSError`."""


class Backlog(Protocol):
    """Entries to replay. Methods raise `OSError`."""

    async def read(self, limit: int) -> Batch:
        """The oldest entries that are not done."""

    async def advance(self, batch: Batch, done: int) -> None:
        """The first `done` entries of the batch are done."""


def passes(error: Exception) -> bool:
    """True where the same settlement may well be taken later."""
    if isinstance(error, StoreReplyError):
        return error.code in _PASSING
    return isinstance(error, StoreAway)


class Replayer:
    """Replays entries: `drain` a whole backlog, or `replay` a few."""

    def __init__(self, accounts: Settling, rejected: Rejecting, *, timeout_s: float = TIMEOUT_S) -> None:
        self._accounts = accounts
        self._rejected = rejected
        self._timeout_s = timeout_s

    async def drain(self, backlog: Backlog) -> bool:
        """Replay everything; False where the store went away before the end. Raises `OSError`."""
        limit = 1  # so that a store that is still away is asked once
        while True:
            batch = await backlog.read(limit)
            if batch.damaged:
                log.error("entries of a journal cannot be read; its file is set aside", count=batch.damaged)
            done = await self.replay([entry.payload for entry in batch.entries])
            await backlog.advance(batch, done)
            if done < len(batch.entries):
                return False
            if not batch.entries:
                return True
            limit = BATCH

    async def replay(self, payloads: Sequence[bytes]) -> int:
        """Replay these, in one write; returns how many from the first on are done. Raises `OSError`."""
        outcomes = await asyncio.gather(*map(self._replay_one, payloads))
        return outcomes.index(False) if False in outcomes else len(outcomes)

    async def _replay_one(self, payload: bytes) -> bool:
        try:
            settlement = decode_entry(payload)
        except ValueError as error:  # its checksum is right: another version wrote it
            await self._rejected.keep(payload, None, error)
            return True
        try:
            await self._accounts.settle(settlement, timeout_s=self._timeout_s)
        except Exception as error:  # noqa: BLE001  # a bug is no passing error either, and must not loop
            if passes(error):
                return False
            await self._rejected.keep(payload, settlement, error)
        return True
