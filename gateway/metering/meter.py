"""Settlement, as the pipeline sees it: one call at the end of a request, whatever state the store is in.

    the store says                     the settlement goes          `settle` returns
    stored, duplicate, corrected, ...  -                            that
    nothing in time, or it passes      to the journal               "journaled" once it is on disk,
                                                                    "unsaved" where that takes too long
    no, for good                       to the rejected file         "rejected"
    nothing, and the journal is full   into the log, in full        "lost"

"unsaved" is still on its way: it is in memory, tried again at disk and store. "lost" is not the end of the
matter either where the store held a reservation: it is no longer renewed, and swept as orphaned.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, Protocol

import structlog

from gateway.limits.values import (
    SETTLEMENT_RESULTS,
    Admission,
    Counters,
    Dimensions,
    Settlement,
    SettlementResult,
)
from gateway.metering.entry import encode_entry
from gateway.metering.journal import Journal, JournalFull
from gateway.metering.record import State
from gateway.metering.rejected import Rejected
from gateway.metering.renewal import EVERY_S, Renewals, Renewing
from gateway.metering.replay import BATCH, Replayer, Settling, passes
from gateway.store.errors import is_unknown_script

JOURNAL_WAIT_S = 1.0
"""How long the end of a stream may wait for a disk."""

REPLAY_RETRY_S = 0.5
CLOSE_S = 2.0

Fate = SettlementResult | Literal["journaled", "unsaved", "rejected", "lost"]

log = structlog.get_logger(__name__)


class Accounts(Settling, Renewing, Protocol):
    """What a meter asks of the store."""


class Ended(Protocol):
    """A call that the store has admitted, and that has ended."""

    @property
    def request_id(self) -> str:
        """Of the call."""

    @property
    def state(self) -> State:
        """Of its record."""

    def send(self, timeout_s: float) -> Awaitable[int]:
        """Send its settlement; the reply is the number of a `SettlementResult`. Raises `StoreError`."""

    def settlement(self) -> Settlement:
        """The same as a value, to be kept."""


class Meter:
    """Settles the requests of one process and keeps their reservations while they run.

    Args:
        process: identifies this process, as in its admissions.
        settle_timeout_s: how long a settlement waits for the store.
        journal_wait_s: how long it waits for the disk then.
        on_settled: told the state of every settlement, once, whichever way it went.
        on_store_error: told what was asked of the store when it failed.
        renew_every_s: seconds between renewals; a third of a lease.
        wall_clock: unix seconds, for admissions that nobody knows the time of.

    Attributes:
        opened: to be told that a request was admitted, or may have been, by its own and its key's id: its
            reservation is kept until it is settled.
    """

    def __init__(
        self,
        accounts: Accounts,
        journal: Journal,
        rejected: Rejected,
        process: str,
        *,
        settle_timeout_s: float = 0.25,
        journal_wait_s: float = JOURNAL_WAIT_S,
        on_settled: Callable[[str], None] = lambda _: None,
        on_store_error: Callable[[str], None] = lambda _: None,
        renew_every_s: float = EVERY_S,
        replay_retry_s: float = REPLAY_RETRY_S,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._journal = journal
        self._rejected = rejected
        self._settle_timeout_s = settle_timeout_s
        self._journal_wait_s = journal_wait_s
        self._on_settled = on_settled
        self._on_store_error = on_store_error
        self._replay_retry_s = replay_retry_s
        self._wall_clock = wall_clock
        self._renewals = Renewals(accounts, process, on_error=on_store_error, every_s=renew_every_s)
        self._open = self._renewals.open
        self.opened: Callable[[str, str], None] = self._open.__setitem__
        self._replayer = Replayer(accounts, rejected)
        self._has_backlog = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running: list[asyncio.Task[None]] = []

    @property
    def is_full(self) -> bool:
        """True where neither store nor disk has taken settlements for long: better admit no calls."""
        return self._journal.is_full

    @property
    def live_processes(self) -> int:
        """Workers of all replicas when last seen, at least 1: among them limits are split without a store."""
        return self._renewals.live_processes

    def open(self) -> None:
        """Begin to renew and to replay, in the background."""
        self._running = [
            asyncio.create_task(self._renewals.run()),
            asyncio.create_task(self._keep_replaying()),
        ]

    async def end(self, call: Ended) -> Fate:
        """Settle a call that the store has admitted. Like `settle`."""
        self._open.pop(call.request_id, None)
        self._on_settled(call.state)
        try:
            return SETTLEMENT_RESULTS[await call.send(self._settle_timeout_s)]
        except asyncio.CancelledError:
            self._in_background(self._keep(call.settlement()))
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the settlement must be kept
            settlement = call.settlement()
            if is_unknown_script(error):
                return await self._send(settlement)
            return await self._keep_or_reject(settlement, error)

    async def settle(self, settlement: Settlement) -> Fate:
        """Settle a request; bounded in time. Never raises but when cancelled, and settles even then."""
        self._open.pop(settlement.request_id, None)
        if settlement.state != "withdrawn":
            self._on_settled(settlement.state)
        return await self._send(settlement)

    async def _send(self, settlement: Settlement) -> Fate:
        try:
            return await self._accounts.settle(settlement, timeout_s=self._settle_timeout_s)
        except asyncio.CancelledError:
            self._in_background(self._keep(settlement))
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the settlement must be kept
            return await self._keep_or_reject(settlement, error)

    async def _keep_or_reject(self, settlement: Settlement, error: Exception) -> Fate:
        self._on_store_error("settle")
        if passes(error):
            return await self._keep(settlement)
        return await self._reject(settlement, error)

    def release_unknown(self, admission: Admission) -> None:
        """Give back, in the background, what a call may hold whose admission was not answered.

        For calls that are not served. What `AccountStore.admit` never sent needs none of this.
        """
        self._in_background(self.withdraw(admission))

    async def withdraw(self, admission: Admission) -> Fate:
        """Give back what an admitted call holds; no record is kept of it. Like `settle`."""
        withdrawal = Settlement(
            request_id=admission.request_id,
            key_id=admission.key_id,
            state="withdrawn",
            record=b"",
            admitted_ms=int(self._wall_clock() * 1000),
            counters=Counters(requests=0),
            dimensions=Dimensions(admission.key_id),
            tpm=admission.bounds.tpm,
            has_credit=admission.has_credit,
        )
        return await self.settle(withdrawal)

    async def aclose(self, within_s: float = CLOSE_S) -> None:
        """Bring everything to store or disk, in bounded time. Call it when no request is open any more."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        try:
            async with asyncio.timeout(within_s):
                await self._catch_up()
        except TimeoutError:
            log.warning("settlements stay in the journal", pending=self._journal.pending)
        for payload in await self._journal.aclose(within_s):
            _log_lost(payload)
        await self._rejected.aclose()

    async def _keep(self, settlement: Settlement) -> Fate:
        """Into the journal."""
        payload = encode_entry(settlement)
        try:
            saved = self._journal.append(payload)
        except JournalFull:
            _log_lost(payload)
            return "lost"
        self._has_backlog.set()
        try:
            async with asyncio.timeout(self._journal_wait_s):
                await asyncio.shield(saved)
        except TimeoutError:
            return "unsaved"
        return "journaled"

    async def _reject(self, settlement: Settlement, error: Exception) -> Fate:
        try:
            async with asyncio.timeout(self._journal_wait_s):
                await self._rejected.keep(encode_entry(settlement), settlement, error)
        except (OSError, TimeoutError):
            return await self._keep(settlement)  # replaying it will be refused again, and by then it may fit
        return "rejected"

    async def _keep_replaying(self) -> None:
        while True:
            await self._has_backlog.wait()
            if await self._catch_up():
                self._has_backlog.clear()
            else:
                await asyncio.sleep(self._replay_retry_s)

    async def _catch_up(self) -> bool:
        """Replay the journal; True once nothing is left in it."""
        journal = self._journal
        if not journal.pending:
            return True
        try:
            if not await self._replayer.drain(journal):
                return False
            while journal.is_refused and (unsaved := journal.unsaved(BATCH)):
                done = await self._replayer.replay([each.payload for each in unsaved])
                for each in unsaved[:done]:
                    journal.forget(each)
                if done < len(unsaved):
                    return False
        except Exception:  # a disk that fails, or a bug: both must not end the replaying
            log.exception("the journal cannot be replayed; trying again")
            return False
        return not journal.pending

    def _in_background(self, work: Coroutine[Any, Any, Fate]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _log_lost(payload: bytes) -> None:
    log.error("a settlement found neither store nor disk; here it is", entry=payload.decode())
