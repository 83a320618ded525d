"""What replicas found out of upstreams, told to each other: one field of a hash for each replica.

    {instance: {"at": unix seconds by the server's clock, "upstreams": {name: report}}}

A replica writes while it has something to tell, and is not believed once it has been silent for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.store import keys
from gateway.store.client import Store, pairs

BELIEVED_S = 10
FORGOTTEN_S = 3600


class HealthRepository:
    """Tells and hears. All methods raise `StoreError`.

    Args:
        instance: identifies this replica's control process.
    """

    def __init__(self, store: Store, instance: str) -> None:
        self._store = store
        self._instance = instance
        self._has_told = False

    async def exchange(self, upstreams: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Tell what this replica found, nothing where it is empty; returns what the others found."""
        (seconds, _), flat = await asyncio.gather(
            self._store.call("TIME"), self._store.call("HGETALL", keys.CATALOG_HEALTH)
        )
        now = int(seconds)
        if upstreams:
            told = msgspec.json.encode({"at": now, "upstreams": upstreams})
            await self._store.call("HSET", keys.CATALOG_HEALTH, self._instance, told)
        elif self._has_told:
            await self._store.call("HDEL", keys.CATALOG_HEALTH, self._instance)
        self._has_told = bool(upstreams)
        heard = []
        for raw_instance, raw in pairs(flat).items():
            if raw_instance.decode() == self._instance:
                continue
            entry = msgspec.json.decode(raw)
            if now - entry["at"] <= BELIEVED_S:
                heard.append(entry["upstreams"])
            elif now - entry["at"] > FORGOTTEN_S:
                await self._store.call("HDEL", keys.CATALOG_HEALTH, raw_instance)
        return heard
