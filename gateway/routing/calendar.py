"""The date of today in UTC, made once a day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

_DAY_S = 86400


class Calendar:
    """Tells the date.

    Args:
        wall_clock: unix seconds.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._begins = self._ends = 0.0
        self._date = ""

    def today(self) -> str:
        """As "YYYY-MM-DD"."""
        now = self._wall_clock()
        if not self._begins <= now < self._ends:
            self._begins = now - now % _DAY_S
            self._ends = self._begins + _DAY_S
            self._date = datetime.fromtimestamp(now, UTC).date().isoformat()
        return self._date
