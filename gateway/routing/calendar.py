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
        self._day = -1
        self._date = ""

    def today(self) -> str:
        """As "YYYY-MM-DD"."""
        now = self._wall_clock()
        day = int(now // _DAY_S)
        if day != self._day:
            self._day, self._date = day, datetime.fromtimestamp(now, UTC).date().isoformat()
        return self._date
