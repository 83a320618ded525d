"""How long to wait before something that died is started again."""

from __future__ import annotations


class Backoff:
    """0.1 s, doubling to 5 s; 0.1 s again after a life of 10 s."""

    FIRST_S = 0.1
    LAST_S = 5.0
    GOOD_LIFE_S = 10.0

    def __init__(self) -> None:
        self._next_s = self.FIRST_S

    def after(self, alive_s: float) -> float:
        """Seconds to wait after a life of `alive_s` seconds."""
        if alive_s >= self.GOOD_LIFE_S:
            self._next_s = self.FIRST_S
        delay_s = self._next_s
        self._next_s = min(delay_s * 2, self.LAST_S)
        return delay_s
