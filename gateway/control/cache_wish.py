"""Whether anything may be answered from the response cache; if so, its own server has to run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.config.alias import wants_cache
from gateway.control.snapshot import SnapshotKeeper

LOOK_EVERY_S = 0.2
"""How long a reload, or a change of an alias, may go unnoticed."""


class CacheWish:
    """Watches what is in force.

    Args:
        ask: asks for the cache's server to be started; called once, from the event loop.
    """

    def __init__(self, keeper: SnapshotKeeper, ask: Callable[[], None]) -> None:
        self._keeper = keeper
        self._ask = ask

    def is_wanted(self) -> bool:
        """Whether an alias in force, or all of them, use the cache."""
        settings, snapshot = self._keeper.settings, self._keeper.current
        aliases = settings.aliases if snapshot is None else snapshot.alias_settings
        return wants_cache(settings.cache, aliases.values())

    async def run(self) -> None:
        """Return once the server was asked for."""
        looked_at: tuple[object, object] | None = None
        while True:
            in_force = (self._keeper.settings, self._keeper.current)
            if looked_at is None or any(a is not b for a, b in zip(in_force, looked_at, strict=True)):
                looked_at = in_force
                if self.is_wanted():
                    self._ask()
                    return
            await asyncio.sleep(LOOK_EVERY_S)
