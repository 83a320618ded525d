"""What routing knows of upstreams: whose turn it is, and which credentials are set aside."""

from __future__ import annotations

CREDENTIAL_COOLDOWN_S = 60.0
"""How long a credential that was refused (401, 403) rests before it is tried again."""


class Health:
    """The health snapshot of one process. Times are readings of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._set_aside: dict[tuple[str, int], float] = {}
        self._turns: dict[str, int] = {}
        self._in_flight: dict[str, int] = {}

    def set_aside(self, upstream: str, credential: int, now: float) -> None:
        """Let a credential rest: the upstream refused it."""
        self._set_aside[upstream, credential] = now + CREDENTIAL_COOLDOWN_S

    def accepted(self, upstream: str, credential: int) -> None:
        """The upstream took this credential: it is ready again, whatever was before."""
        if self._set_aside:
            self._set_aside.pop((upstream, credential), None)

    def is_ready(self, upstream: str, credential: int, now: float) -> bool:
        """False while the credential rests."""
        until = self._set_aside.get((upstream, credential))
        return until is None or now >= until

    def turn(self, upstream: str) -> int:
        """Counts the calls of an upstream, so that its credentials are used in turn."""
        return self._turns.get(upstream, 0)

    def began(self, upstream: str) -> None:
        """A call of this upstream begins."""
        self._turns[upstream] = self._turns.get(upstream, 0) + 1
        self._in_flight[upstream] = self._in_flight.get(upstream, 0) + 1

    def ended(self, upstream: str) -> None:
        """A call of this upstream is over."""
        self._in_flight[upstream] -= 1

    def in_flight(self, upstream: str) -> int:
        """Calls of an upstream that are not over, of this process."""
        return self._in_flight.get(upstream, 0)

    def resting(self, now: float) -> dict[str, list[int]]:
        """The credentials set aside now, by upstream."""
        resting: dict[str, list[int]] = {}
        for (upstream, credential), until in self._set_aside.items():
            if now < until:
                resting.setdefault(upstream, []).append(credential)
        return resting
