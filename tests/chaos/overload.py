"""Offers a gateway several times what it can do, and compares what it then gets done with its best.

    python3 dev.py chaos overload [--places 20] [--wait 0.05] [--times 5] [--seconds 10] [--no-open]

The upstream takes `--wait` seconds for each call and the gateway `--places` of them at once, so it can do
places / wait a second. The peak is the best of some closed loops (each client sends its next call when the
last was answered). Then comes the overload, twice: as an open loop, where calls come at random moments
whatever becomes of those before, and as so many times more clients, which wait as long as `retry-after`
says. With `--wait 0 --places 4000` the processor is what is short; `--no-open` leaves the open loop out.
Last comes one line of JSON; the exit code is 1 where less than 90% of the peak is left or a refusal took
too long.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds only what is beside it

from tests.chaos.kit.plain_gateway import plain_gateway
from tests.chaos.kit.wire import Wire, request

LEAST_SHARE = 0.9
REFUSED_WITHIN_MS = 10.0
WARM_UP_S = 1.0
_PATIENCE_S = 30.0


@dataclass
class Seen:
    """What clients saw: moments of good answers, and how long refusals took, in seconds."""

    good: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def rate(self, since: float, until: float) -> float:
        """Good answers a second in a window of time."""
        return sum(since <= moment < until for moment in self.good) / (until - since)


class Clients:
    """Clients of one gateway, over as many connections as they need."""

    def __init__(self, url: str, content: bytes) -> None:
        self._url = url
        self._content = content
        self._idle: list[Wire] = []
        self.seen = Seen()

    async def call(self) -> float:
        """One call, noted; returns the seconds until the next one is welcome."""
        began = time.perf_counter()
        try:
            wire = self._idle.pop() if self._idle else await Wire.connect(self._url)
            connected = time.perf_counter()
            async with asyncio.timeout(_PATIENCE_S):
                answer = await wire.call(self._content)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.seen.others[type(error).__name__] += 1
            return 0.0
        ended = time.perf_counter()
        if answer.status == 200:
            self.seen.good.append(ended)
        elif answer.code == "gateway_overloaded":
            self.seen.refused.append(ended - max(began, connected))
        else:
            self.seen.others[f"{answer.status} {answer.code}"] += 1
        if wire.is_open:
            self._idle.append(wire)
        else:
            wire.abort()
        return answer.retry_after_s

    async def closed_loop(self, clients: int, seconds: float) -> float:
        """So many clients, each one call after the other; returns good answers a second."""
        until = time.perf_counter() + WARM_UP_S + seconds

        async def client() -> None:
            while time.perf_counter() < until:
                await asyncio.sleep(await self.call())

        await asyncio.gather(*(client() for _ in range(clients)))
        return self.seen.rate(until - seconds, until)

    async def open_loop(self, rate: float, seconds: float, draw: random.Random) -> float:
        """So many calls a second at random moments; returns good answers a second."""
        since = time.perf_counter() + WARM_UP_S
        until = since + seconds
        due = time.perf_counter()
        async with asyncio.TaskGroup() as calls:
            while due < until:
                due += draw.expovariate(rate)
                if (pause_s := due - time.perf_counter()) > 0:
                    await asyncio.sleep(pause_s)
                calls.create_task(self.call())
        return self.seen.rate(since, until)

    def close(self) -> None:
        for wire in self._idle:
            wire.abort()


@dataclass(frozen=True)
class Settings:
    """Of a run; times in seconds."""

    places: int = 20
    wait: float = 0.05
    times: float = 5
    seconds: float = 10
    open: bool = True


def run(settings: Settings) -> dict[str, Any]:
    """Measure; returns the figures."""
    places = settings.places
    with plain_gateway(max_in_flight=places, max_queue=places, queue_timeout_s=5) as gateway:
        content = request(gateway.new_key(), f"wait {settings.wait}")
        return uvloop.run(_measure(gateway.data_url, content, settings))


async def _measure(url: str, content: bytes, settings: Settings) -> dict[str, Any]:
    places, seconds = settings.places, settings.seconds
    loops = {}
    for clients in sorted({min(places, 64), min(2 * places, 128)}):
        with closing(Clients(url, content)) as tried:
            loops[clients] = await tried.closed_loop(clients, seconds / 2)
    best = max(loops, key=lambda clients: loops[clients])
    peak = loops[best]
    figures: dict[str, Any] = {"peak_per_s": round(peak), "shares": {}, "others": {}}
    if settings.open:
        with closing(Clients(url, content)) as flood:
            draw = random.Random(1)  # noqa: S311  # no secret: a run can be repeated
            goodput = await flood.open_loop(settings.times * peak, seconds, draw)
        refused = sorted(flood.seen.refused)
        figures["shares"]["open_loop"] = round(goodput / peak, 3)
        figures["others"] |= flood.seen.others
        figures["refused"] = len(refused)
        figures["refusal_ms"] = {"p50": _percentile_ms(refused, 0.5), "p99": _percentile_ms(refused, 0.99)}
    with closing(Clients(url, content)) as crowd:
        goodput = await crowd.closed_loop(round(settings.times * best), seconds)
    figures["shares"]["more_clients"] = round(goodput / peak, 3)
    figures["others"] |= crowd.seen.others
    with closing(Clients(url, content)) as after:
        figures["afterwards_per_s"] = round(await after.closed_loop(best, seconds / 4))
    return figures


def _percentile_ms(ordered: list[float], share: float) -> float | None:
    return round(ordered[int(share * (len(ordered) - 1))] * 1000, 2) if ordered else None


def is_good(figures: dict[str, Any]) -> bool:
    """Whether the gateway keeps its promise."""
    median_ms = figures.get("refusal_ms", {}).get("p50") or 0.0
    return (
        min(figures["shares"].values()) >= LEAST_SHARE
        and not figures["others"]
        and median_ms < REFUSED_WITHIN_MS
    )


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--places", type=int, default=20)
    parser.add_argument("--wait", type=float, default=0.05, help="seconds a call takes upstream")
    parser.add_argument("--times", type=float, default=5, help="offered load, as a multiple of the peak")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--no-open", dest="open", action="store_false")
    settings = Settings(**vars(parser.parse_args()))
    figures = run(settings)
    sys.stdout.write(json.dumps(asdict(settings) | figures) + "\n")
    return 0 if is_good(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
