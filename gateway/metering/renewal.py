"""Keeps the reservations of running requests alive, all of them in one batched call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import structlog

from gateway.store.errors import StoreError

EVERY_S = 10.0
"""A third of a lease, so that two renewals may fail."""

RETRY_S = 1.0

log = structlog.get_logger(__name__)


class Renewing(Protocol):
    """The store's side of renewals. Methods raise `StoreError`."""

    async def renew(self, process: str, calls: Mapping[str, Sequence[str]]) -> int:
        """Extend the leases of open calls, request ids by key id; returns how many are still reserved."""

    async def beat(self, process: str) -> int:
        """Say that this process lives; returns how many do."""


class Renewals:
    """The open requests of this process.

    Args:
        process: identifies this process, never used by another one.
        on_error: told of an error of the store, by the name of what was asked.
        every_s: seconds between renewals; after one that failed at most `RETRY_S`.

    Attributes:
        live_processes: workers of all replicas when last seen, this one included.
        open: requests that are being served, whose reservations are kept: their keys' ids by their own.
    """

    def __init__(
        self,
        accounts: Renewing,
        process: str,
        *,
        on_error: Callable[[str], None] = lambda _: None,
        every_s: float = EVERY_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.live_processes = 1
        self._accounts = accounts
        self._process = process
        self._on_error = on_error
        self._every_s = every_s
        self._sleep = sleep
        self.open: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many requests are open."""
        return len(self.open)

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            try:
                is_renewed = await self.renew()
            except Exception:  # a bug here must not cost every running request its reservation
                log.exception("renewing failed")
                is_renewed = False
            await self._sleep(self._every_s if is_renewed else min(RETRY_S, self._every_s))

    async def renew(self) -> bool:
        """Renew once; False where the store did not take it."""
        calls: dict[str, list[str]] = {}
        for request_id, key_id in self.open.items():
            calls.setdefault(key_id, []).append(request_id)
        try:
            self.live_processes = max(1, await self._accounts.beat(self._process))
            if calls:
                await self._accounts.renew(self._process, calls)
        except StoreError:
            self._on_error("renew")
            return False
        return True
