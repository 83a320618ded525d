"""Forgets ledger records that are older than the operator wants to keep. Counters stay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

import structlog

from gateway.store.errors import StoreError, StoreReplyError

EVERY_S = 3600.0
PIECE = 10_000
"""Records dropped by one command, so that no other call waits for more than some milliseconds."""

_DAY_MS = 86_400_000

log = structlog.get_logger(__name__)


class Streams(Protocol):
    """What is asked of the store. Methods raise `StoreError`."""

    async def call(self, *args: str | bytes | int, timeout_s: float | None = None) -> Any:
        """Run one command."""

    async def call_many(
        self, commands: Sequence[tuple[str | bytes | int, ...]], *, timeout_s: float | None = None
    ) -> list[Any]:
        """Run commands in one write; an error reply stands in its place."""


class Retention:
    """Trims the ledger. Runs in the control process.

    Args:
        ledgers: the keys of all ledger streams.
        days: how long records are kept; asked each time, as it may change by a reload.
    """

    def __init__(
        self,
        store: Streams,
        ledgers: Sequence[str],
        days: Callable[[], int],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        every_s: float = EVERY_S,
    ) -> None:
        self._store = store
        self._ledgers = ledgers
        self._days = days
        self._sleep = sleep
        self._every_s = every_s

    async def run(self) -> None:
        """Trim until cancelled."""
        while True:
            try:
                dropped = await self.trim()
            except StoreError as error:
                log.warning("the ledger could not be trimmed; trying again later", reason=str(error))
            else:
                if dropped:
                    log.info("dropped old ledger records", records=dropped, older_than_days=self._days())
            await self._sleep(self._every_s)

    async def trim(self) -> int:
        """Drop what is too old by the store's own clock; returns how many records.

        Raises `StoreError`; where the store refuses one stream, after trimming the others.
        """
        seconds, _ = await self._store.call("TIME")
        oldest = int(seconds) * 1000 - self._days() * _DAY_MS
        if oldest <= 0:
            return 0
        dropped = 0
        # Whole nodes of the streams first, a bounded piece at a time; then the rest, less than a node each.
        while piece := sum(_counts(await self._trim_all("~", oldest, "LIMIT", PIECE))):
            dropped += piece
        replies = await self._trim_all("=", oldest)
        for reply in replies:
            if isinstance(reply, StoreReplyError):
                raise reply
        return dropped + sum(_counts(replies))

    async def _trim_all(self, how: str, oldest: int, *limit: str | int) -> list[Any]:
        return await self._store.call_many(
            [("XTRIM", ledger, "MINID", how, oldest, *limit) for ledger in self._ledgers]
        )


def _counts(replies: Iterable[Any]) -> Iterable[int]:
    return (reply for reply in replies if not isinstance(reply, StoreReplyError))
