"""How long something was seen without a gap. No I/O, no clock of its own.

state     event                                         next
unseen    answered at t                                 seen since t
seen      answered at t, within `max_gap_s` of the last seen since the same time
seen      answered at t, later than that                seen since t: nobody looked in between
any       missed                                        unseen
"""

from __future__ import annotations


class Sight:
    """The unbroken time during which answers came.

    Args:
        max_gap_s: the longest pause between two answers that counts as having looked all the time.
    """

    def __init__(self, max_gap_s: float) -> None:
        self._max_gap_s = max_gap_s
        self._since: float | None = None
        self._last = 0.0

    def answered(self, at: float) -> None:
        """An answer came at `at`, seconds of a monotonic clock."""
        if self._since is None or at - self._last > self._max_gap_s:
            self._since = at
        self._last = at

    def missed(self) -> None:
        """No answer came."""
        self._since = None

    @property
    def unbroken_s(self) -> float:
        """Seconds from the first answer since the last gap to the last answer."""
        return 0.0 if self._since is None else self._last - self._since
