"""One circuit breaker: when a thing that fails is left alone, and when it is tried again.

closed     --`in_a_row` failures, or a share of the window's calls-->  open
open       --`rest_s` later-->  half-open: one call at a time may probe
half-open  --it succeeds-->  closed    --it fails-->  open
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["closed", "half_open", "open"]


@dataclass(frozen=True, slots=True)
class Rule:
    """When a circuit opens, and for how long.

    Args:
        in_a_row: so many failures without a success between them open it.
        rest_s: how long it stays open before a probe.
        share: this part of the calls in a window opens it too; None: never.
        least_calls: a window with fewer calls says nothing.
        window_s: length of a window, in seconds.
    """

    in_a_row: int
    rest_s: float
    share: float | None = None
    least_calls: int = 20
    window_s: float = 30.0


class Circuit:
    """The state of one thing. Times are readings of a monotonic clock, in seconds.

    Attributes:
        is_advised: it rests because another process said so; nothing was seen here.
    """

    __slots__ = (
        "_calls",
        "_failures",
        "_in_a_row",
        "_opened_until",
        "_probe_until",
        "_window_end",
        "is_advised",
    )

    def __init__(self) -> None:
        self.is_advised = False
        self._in_a_row = 0
        self._calls = 0
        self._failures = 0
        self._window_end = 0.0
        self._opened_until: float | None = None
        self._probe_until = 0.0

    def state(self, now: float) -> State:
        """What holds at `now`."""
        if self._opened_until is None:
            return "closed"
        return "open" if now < self._opened_until else "half_open"

    def may_pass(self, now: float) -> bool:
        """True where a call may be made: while closed, or as the one probe."""
        if self._opened_until is None:
            return True
        return now >= self._opened_until and now >= self._probe_until

    def rests_s(self, now: float) -> float:
        """Seconds until a probe may be made; 0 where one may be now."""
        if self._opened_until is None:
            return 0.0
        return max(0.0, self._opened_until - now, self._probe_until - now)

    def began(self, rule: Rule, now: float) -> None:
        """A call begins. A probe that never ends gives way to the next one after another rest."""
        if self._opened_until is not None:
            self._probe_until = now + rule.rest_s

    def gave_up(self) -> None:
        """A call ended and says nothing: its client left, or the failure was the caller's own."""
        self._probe_until = 0.0

    def succeeded(self, rule: Rule, now: float) -> bool:
        """A call succeeded; True where that closes the circuit."""
        self._roll(rule, now)
        self._calls += 1
        self._in_a_row = 0
        if self._opened_until is None:
            return False
        self._opened_until = None
        self.is_advised = False
        self._calls = self._failures = 0
        return True

    def failed(self, rule: Rule, now: float) -> bool:
        """A call failed; True where that opens the circuit, or keeps it open."""
        self._roll(rule, now)
        self._calls += 1
        self._failures += 1
        self._in_a_row += 1
        if self._opened_until is None and not self._is_enough(rule):
            return False
        if self._opened_until is not None and now < self._opened_until:
            return False  # a call that was under way when it opened
        self.trip(now + rule.rest_s)
        return True

    def trip(self, until: float, *, advised: bool = False) -> None:
        """Open it until then."""
        self._opened_until = until
        self._probe_until = 0.0
        self.is_advised = advised

    def suspect(self, rule: Rule) -> None:
        """Another process saw it fail: the next failure here opens it."""
        self._in_a_row = max(self._in_a_row, rule.in_a_row - 1)

    def is_forgettable(self, now: float) -> bool:
        """True where it is closed and no failure of its window is remembered."""
        return self._opened_until is None and self._in_a_row == 0 and now >= self._window_end

    def _is_enough(self, rule: Rule) -> bool:
        if self._in_a_row >= rule.in_a_row:
            return True
        if rule.share is None or self._calls < rule.least_calls:
            return False
        return self._failures >= rule.share * self._calls

    def _roll(self, rule: Rule, now: float) -> None:
        if now >= self._window_end:
            self._calls = self._failures = 0
            self._window_end = now + rule.window_s
