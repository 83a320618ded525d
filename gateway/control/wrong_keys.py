"""How many wrong admin keys an address has tried lately, so that guessing one stays hopeless and cheap.

Only different keys count: a script that goes on with yesterday's key guesses nothing, and must not lock out
those who share its address.
"""

from __future__ import annotations

from collections import deque

MAX_TRIES = 10
"""So many different wrong keys of one address are compared within `WITHIN_S` seconds, and no more."""
WITHIN_S = 60.0
MAX_ADDRESSES = 1000

_TRACE = 16  # characters of a key's hash that tell keys apart


class WrongKeys:
    """What is remembered of wrong keys; times are monotonic seconds."""

    def __init__(self) -> None:
        self._tries: dict[str, deque[tuple[float, str]]] = {}  # the address that tried last stands last

    def wait_s(self, origin: str, now: float) -> float:
        """Seconds until an address may try again; 0 = now."""
        tries = self._tries.get(origin)
        if tries is None:
            return 0.0
        while tries and now - tries[0][0] >= WITHIN_S:
            tries.popleft()
        if not tries:
            del self._tries[origin]
        return tries[0][0] + WITHIN_S - now if len(tries) >= MAX_TRIES else 0.0

    def add(self, origin: str, key_hash: str, now: float) -> bool:
        """Note a wrong key by its hash; True where it was the last one that the address had left."""
        tries = self._tries.pop(origin, None)
        if tries is None:
            tries = deque()
            if len(self._tries) >= MAX_ADDRESSES:
                self._tries.pop(next(iter(self._tries)))
        self._tries[origin] = tries
        trace = key_hash[:_TRACE]
        if any(seen == trace for _, seen in tries):
            return False
        tries.append((now, trace))
        return len(tries) == MAX_TRIES
