"""Calls of all kinds at a steady rate: replies, streams, and clients that leave in the middle."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter

from tests.chaos.kit.wire import Wire, request

PATIENCE_S = 40.0
LEAVES_AFTER_S = 0.05
_REPLY = "wait 0.02"
_STREAM = "words 20 0.01"
_LONG = "words 100 0.01"


class Load:
    """Clients of one gateway; `ended` counts what became of their calls."""

    def __init__(self, url: str, keys: list[str], model: str) -> None:
        self.ended: Counter[str] = Counter()
        self._url = url
        self._draw = random.Random(1)  # noqa: S311  # no secret: a run can be repeated
        self._replies = [request(key, _REPLY, model=model) for key in keys]
        self._streams = [request(key, _STREAM, stream=True, model=model) for key in keys]
        self._longs = [request(key, _LONG, stream=True, model=model) for key in keys]

    @property
    def calls(self) -> int:
        """How many have ended."""
        return self.ended.total()

    async def run(self, seconds: float, clients: int, rate: float = 0) -> float:
        """Call for so long, at `rate` a second (0: as fast as it goes); returns calls a second."""
        began, before = time.monotonic(), self.calls
        numbers = itertools.count()

        async def client() -> None:
            wire: Wire | None = None
            while (due := began + (next(numbers) / rate if rate else 0)) < began + seconds:
                now = time.monotonic()
                if now > began + seconds:
                    break
                await asyncio.sleep(max(0.0, due - now))
                wire = await self._call(wire)
            if wire is not None:
                wire.abort()

        await asyncio.gather(*(client() for _ in range(clients)))
        return (self.calls - before) / (time.monotonic() - began)

    async def _call(self, wire: Wire | None) -> Wire | None:
        """One call; returns the connection where it can be used again."""
        kind = self._draw.random()
        try:
            async with asyncio.timeout(PATIENCE_S):
                wire = wire or await Wire.connect(self._url)
                if kind < 0.05:
                    wire.send(self._draw.choice(self._longs))
                    await asyncio.sleep(LEAVES_AFTER_S)
                    wire.abort()
                    self.ended["left"] += 1
                    return None
                answer = await wire.call(self._draw.choice(self._replies if kind < 0.5 else self._streams))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.ended[f"broken: {type(error).__name__}"] += 1
            if wire is not None:
                wire.abort()
            return None
        if answer.is_whole and answer.status == 200:
            self.ended["whole"] += 1
        else:
            self.ended["ended by an error" if answer.status == 200 else f"{answer.status} {answer.code}"] += 1
        if wire.is_open:
            return wire
        wire.abort()
        return None
