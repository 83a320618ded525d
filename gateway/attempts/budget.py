"""How many retries a process makes at once: a share of its calls, so that retries never become the load."""

from __future__ import annotations

SHARE = 0.2
FLOOR = 3


class RetryBudget:
    """Counts the retries among calls."""

    def __init__(self) -> None:
        self.calls = 0
        """In flight now. Whoever begins or ends one says so here."""
        self._retries = 0

    def take(self) -> bool:
        """Take a retry, for as long as it runs; False where there are enough of them."""
        if self._retries >= max(FLOOR, SHARE * self.calls):
            return False
        self._retries += 1
        return True

    def give_back(self) -> None:
        """A retry is over, however it ended."""
        self._retries -= 1
