"""Ends the gateway's processes by `kill -9`, one after the other and at random, and starts what must be."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from gateway.supervisor.paths import embedded_socket
from tests.e2e.gateway_process import GatewayProcess

WEIGHTS = {"worker": 10, "store": 4, "control": 2, "store pause": 3, "gateway": 1}
"""How often each is hit, of 20 times. A paused store does what it was asked, but answers too late."""

PAUSE_S = (0.05, 0.6)
"""How long a store is paused: a settlement waits 0.25 s for it."""

GONE_WITHIN_S = 10.0


class Killer:
    """Hits the gateway at random moments, on average each `every_s` seconds, until it is cancelled.

    Attributes:
        hits: what was hit how often.
    """

    def __init__(self, gateway: GatewayProcess, seed: int, every_s: float) -> None:
        self.hits: Counter[str] = Counter()
        self._gateway = gateway
        self._draw = random.Random(seed)  # noqa: S311  # no secret: a run can be repeated
        self._every_s = every_s
        self._is_up = True

    def address(self) -> tuple[str, int] | None:
        """Where the gateway listens, None while it does not."""
        if not self._is_up:
            return None
        url = urlsplit(self._gateway.data_url)
        assert url.hostname
        assert url.port
        return url.hostname, url.port

    async def run(self, over: asyncio.Event) -> None:
        """Return once `over` is set, with the gateway running."""
        deck: list[str] = []
        while not over.is_set():
            if not deck:  # a shuffled deck rather than dice: a short run meets every kind, too
                deck = [name for name, weight in WEIGHTS.items() for _ in range(weight)]
                self._draw.shuffle(deck)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._draw.expovariate(1 / self._every_s)):
                    await over.wait()
                    return
            await self._hit(deck.pop())

    async def _hit(self, target: str) -> None:
        if target == "gateway":
            await self._kill_all()
        elif target == "store pause":
            if pids := self._pids("store"):
                _signal(pids[0], signal.SIGSTOP)
                try:
                    await asyncio.sleep(self._draw.uniform(*PAUSE_S))
                finally:
                    _signal(pids[0], signal.SIGCONT)
                self.hits[target] += 1
        elif pids := self._pids(target):
            _signal(self._draw.choice(pids), signal.SIGKILL)
            self.hits[target] += 1

    async def _kill_all(self) -> None:
        """Kill the supervisor: all others end with it. Then start the gateway anew, elsewhere."""
        self._is_up = False
        self._gateway.process.kill()
        self.hits["gateway"] += 1
        await asyncio.to_thread(self._gateway.process.wait)
        async with asyncio.timeout(GONE_WITHIN_S):
            while self._gateway.alive():
                await asyncio.sleep(0.01)
        await asyncio.to_thread(self._gateway.start)
        self._is_up = True

    def _pids(self, target: str) -> list[int]:
        """The processes of this kind that live now."""
        if target == "store":
            mark = os.fsencode(embedded_socket(self._gateway.data_dir))
        else:
            mark = b"gateway.%b\0" % target.encode()
        found = []
        for pid in self._gateway.alive():
            with contextlib.suppress(OSError):  # gone meanwhile
                if mark in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return sorted(found)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
