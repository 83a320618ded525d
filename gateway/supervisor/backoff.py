"""How long to wait before something is done again."""

from __future__ import annotations


class Backoff:
    """0.1 s, doubling to 5 s; 0.1 s again after a life of 10 s: for what died and is started again.

    Args:
        first_s: the first wait.
        last_s: the longest one.
        good_life_s: a life of so many seconds forgives all before it.
    """

    def __init__(self, first_s: float = 0.1, last_s: float = 5.0, good_life_s: float = 10.0) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._good_life_s = good_life_s
        self._next_s = first_s

    def after(self, alive_s: float) -> float:
        """Seconds to wait after a life of `alive_s` seconds."""
        if alive_s >= self._good_life_s:
            self._next_s = self._first_s
        delay_s = self._next_s
        self._next_s = min(delay_s * 2, self._last_s)
        return delay_s
