"""Lets workers know what others found of upstreams: those of this replica, and those of other replicas.

It is advice: a worker takes a refused credential and a missing model at their word for a while, and trusts a
failing upstream less, but opens no breaker for what it did not see itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import structlog

from gateway.control.link import Worker, WorkerLink
from gateway.control.upstreams import reports_of
from gateway.store.errors import StoreError
from gateway.store.health_repository import HealthRepository

EVERY_S = 1.0

log = structlog.get_logger(__name__)


class Advice:
    """Runs in the control process."""

    def __init__(self, link: WorkerLink, repository: HealthRepository) -> None:
        self._link = link
        self._repository = repository
        self._was_away = False

    async def run(self) -> None:
        """Hear and tell until cancelled."""
        while True:
            others = await self._exchange()
            workers = self._link.workers
            for worker in workers:
                found = troubles([*others, *(each.health for each in workers if each is not worker)])
                _send(worker, found)
            await asyncio.sleep(EVERY_S)

    async def _exchange(self) -> list[Mapping[str, Any]]:
        """What the other replicas found; nothing while the store is away."""
        try:
            heard = await self._repository.exchange(troubles(each.health for each in self._link.workers))
        except StoreError as error:
            if not self._was_away:
                log.warning("other replicas are not heard while the store is away", reason=str(error))
            self._was_away = True
            return []
        self._was_away = False
        return heard


def troubles(healths: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All reports as one, without the upstreams that all is well with."""
    merged = reports_of(healths)
    return {
        name: {"set_aside": report.set_aside, "open": report.open, "gone": report.gone}
        for name, report in merged.items()
        if report.set_aside or report.open or report.gone
    }


def _send(worker: Worker, found: Mapping[str, Any]) -> None:
    """Told as often as it holds: a worker lets what it was told rest only for a while."""
    if found:
        worker.send({"type": "advice", "upstreams": msgspec.to_builtins(found)})
