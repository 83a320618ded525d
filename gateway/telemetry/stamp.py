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
        self._millisecond = -1
        self._begun = -_SECOND
        """The first millisecond of the second that the prefix is of."""
        self._text = self._prefix = ""

    def now(self) -> str:
        """The time now."""
        millisecond = int(self._wall_clock() * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            place = millisecond - self._begun
            if not 0 <= place < _SECOND:
                place = millisecond % _SECOND
                self._begun = millisecond - place
                second = time.gmtime(self._begun // _SECOND)
                self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", second)
            self._text = self._prefix + _ENDS[place]
        return self._text


_SECOND = 1000
_ENDS = [f"{place:03}Z" for place in range(_SECOND)]
