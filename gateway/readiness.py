"""Whether this worker should get traffic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class WorkerReadiness:
    """Ready once configuration and store were seen; a store lost later degrades, a drain ends it.

    Args:
        store_is_up: whether the store answers now.
    """

    def __init__(self, store_is_up: Callable[[], bool]) -> None:
        self._store_is_up = store_is_up
        self.was_ready = False
        self.is_draining = False

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Status and body of `/readyz`."""
        if self.is_draining:
            return 503, {"status": "draining"}
        if not self.was_ready:
            return 503, {"status": "starting"}
        if not self._store_is_up():
            return 200, {"status": "degraded", "store": "away"}
        return 200, {"status": "ready"}
