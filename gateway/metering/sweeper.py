"""Settles what dead processes left: reservations that nobody renews and no journal knows better.

    store seen   journals of the dead   a reservation whose lease is over is
    < 30 s       any                    left: its process may live, and just not have reached the store
    >= 30 s      not all replayed       left: its settlement may stand there
    >= 30 s      all replayed           left if a living process has journaled its settlement, else charged

Charged is the whole reservation, as `orphaned`: it may have been spent. The store looks at the lease once
more when it settles, and the true figure, should it come after all, corrects the charge. Several sweepers
may work at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import structlog

from gateway.limits.values import OpenReservation
from gateway.metering.charge import charge
from gateway.metering.replay import Settling, passes
from gateway.metering.sight import Sight
from gateway.metering.takeover import Takeover
from gateway.store.errors import StoreError, StoreReplyError

TICK_S = 5.0
UNBROKEN_S = 30.0
"""As long as a lease: whoever lives has reached the store again within it, and renewed."""

BATCH = 256
TIMEOUT_S = 2.0

log = structlog.get_logger(__name__)


class Accounts(Settling, Protocol):
    """What a sweeper asks of the store."""

    async def overdue(self, shard: str, limit: int) -> list[OpenReservation]:
        """Reservations of a shard whose lease is over, the oldest first. Raises `StoreError`."""


class Sweeper:
    """Runs in the control process.

    Args:
        takeover: replays the journals of this replica's dead processes.
        shards: all of them, "00" to "63".
        on_settled: told the state of what is settled, as the meter's is.
        clock: monotonic seconds.
        tick_s: how often to look; a pause of more than three of these between two looks is a gap.
        unbroken_s: how long the store must have been seen.
    """

    def __init__(
        self,
        accounts: Accounts,
        takeover: Takeover,
        shards: Iterable[str],
        *,
        on_settled: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tick_s: float = TICK_S,
        unbroken_s: float = UNBROKEN_S,
    ) -> None:
        self._accounts = accounts
        self._takeover = takeover
        self._on_settled = on_settled
        self._clock = clock
        self._sleep = sleep
        self._tick_s = tick_s
        self._unbroken_s = unbroken_s
        self._sights = {shard: Sight(3 * tick_s) for shard in shards}
        self._is_replayed = False
        self._hopeless: set[str] = set()

    async def run(self) -> None:
        """Replay and sweep until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            # Side by side: a long replay must not look like a gap in the sight of the store.
            tasks.create_task(self._repeat(self.replay))
            tasks.create_task(self._repeat(self.sweep))

    async def replay(self) -> None:
        """Replay what the dead have journaled; nothing is swept until all of it is."""
        self._is_replayed = await self._takeover.run()

    async def sweep(self) -> int:
        """Look at every shard once, and charge what may be charged; returns how much that was."""
        looks = await asyncio.gather(*map(self._look, self._sights))
        ripe = [
            shard
            for (shard, sight), overdue in zip(self._sights.items(), looks, strict=True)
            if overdue and sight.unbroken_s >= self._unbroken_s
        ]
        if not ripe or not self._is_replayed:
            return 0
        spared = self._hopeless | await self._takeover.settled_by_the_living()
        charged = 0
        for shard in ripe:
            charged += await self._sweep_shard(shard, spared)
        if charged:
            log.warning("charged what dead processes left in the middle of serving it", requests=charged)
        return charged

    async def aclose(self) -> None:
        """Let go of the journals that were taken over."""
        await self._takeover.aclose()

    async def _look(self, shard: str) -> bool:
        """See whether anything is overdue."""
        try:
            overdue = await self._accounts.overdue(shard, 1)
        except StoreError:
            self._sights[shard].missed()
            return False
        self._sights[shard].answered(self._clock())
        return bool(overdue)

    async def _sweep_shard(self, shard: str, spared: set[str]) -> int:
        charged, passed_over = 0, set(spared)
        try:
            while True:
                overdue = await self._accounts.overdue(shard, BATCH + len(passed_over))
                due = [each for each in overdue if each.request_id not in passed_over][:BATCH]
                if not due:
                    return charged
                charges = await asyncio.gather(*map(self._charge, due))
                charged += sum(charges)
                passed_over.update(
                    each.request_id for each, is_done in zip(due, charges, strict=True) if not is_done
                )
        except StoreError as error:
            self._sights[shard].missed()
            log.warning("the store went away while sweeping", shard=shard, reason=str(error))
            return charged

    async def _charge(self, reservation: OpenReservation) -> bool:
        """Settle one; False where somebody was faster, or it cannot be done. Raises `StoreError`."""
        settlement = charge(reservation)
        try:
            result = await self._accounts.settle(settlement, timeout_s=TIMEOUT_S)
        except StoreReplyError as error:
            if passes(error):
                raise
            self._give_up(reservation, error)
            return False
        if result == "stored":
            self._on_settled(settlement.state)
        return result == "stored"

    def _give_up(self, reservation: OpenReservation, error: StoreReplyError) -> None:
        self._hopeless.add(reservation.request_id)
        log.error(
            "the store refuses to charge what a dead process left",
            request_id=reservation.request_id,
            key=reservation.key_id,
            reason=str(error),
        )

    async def _repeat(self, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await work()
            except Exception:  # a bug with one reservation must not end the sweeping of all
                log.exception("sweeping failed; trying again")
            await self._sleep(self._tick_s)
