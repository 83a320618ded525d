"""Times for log lines: UTC, ISO 8601, in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable


class Stamp:
    """Makes time stamps such as `2026-11-23T08:13:22.123Z`.

    One is made for all who ask in the same millisecond, and all but the milliseconds once a second.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._millisecond = self._second = -1
        self._text = self._prefix = ""

    def __call__(self) -> str:
        """The time now."""
        millisecond = int(self._wall_clock() * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second = millisecond // 1000
            if second != self._second:
                self._second = second
                self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._text = f"{self._prefix}{str(millisecond)[-3:]}Z"
        return self._text
