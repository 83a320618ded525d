"""Sends bodies with damage in them, and answers by streams with damage in them: nothing breaks or hangs.

    python3 dev.py chaos mutate [--bodies 10000] [--streams 10000] [--seed 1] [--at-once 16]

The seed and its number say all of a body or a stream, so what fails can be had again. Prints what was wrong
and, last, one line of JSON. Exits with 1 where a status 500 or another 5xx came, a stream ended in no good
order, a call took longer than a second, a reservation stayed open, a worker died, or grew by more than 4 MiB
between a fifth of a kind's calls and their end.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds only what is beside it

from tests.chaos.kit.books import Books
from tests.chaos.kit.plain_gateway import UNLIMITED
from tests.chaos.mutate_kit.bodies import MODEL, damaged_body
from tests.chaos.mutate_kit.client import Caller, Seen
from tests.chaos.mutate_kit.upstream import MUTANT, mutant_upstream
from tests.chaos.readers import resident_kib
from tests.e2e.gateway_process import GatewayProcess

LONGEST_S = 1.0
MOST_GROWTH_MIB = 4.0
SETTLED_WITHIN_S = 30.0
_SHOWN = 20
_CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Settings:
    """Of a run."""

    bodies: int = 10_000
    streams: int = 10_000
    seed: int = 1
    at_once: int = 16


@dataclass
class Tally:
    """What came of one kind of calls; `resident_mib` is the worker's memory after each tenth of them."""

    statuses: Counter[int] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    moved_on: int = 0
    longest_s: float = 0.0
    slowest: str = ""
    resident_mib: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def note(self, name: str, seen: Seen) -> None:
        self.statuses[seen.status] += 1
        self.ends[seen.ended] += 1
        self.moved_on += seen.moved_on
        if seen.took_s > self.longest_s:
            self.longest_s, self.slowest = seen.took_s, name
        is_clean = seen.ended in ("json", "done", "error") and 200 <= seen.status < 500
        if not is_clean:
            self.wrong.append(f"{name}: {seen}")

    @property
    def growth_mib(self) -> float:
        """From the second tenth to the end: what is loaded or kept for later is there by then."""
        return round(self.resident_mib[-1] - self.resident_mib[1], 2) if len(self.resident_mib) > 2 else 0.0

    def figures(self) -> dict[str, Any]:
        """For one line of JSON."""
        return {
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "ends": dict(sorted(self.ends.items())),
            "moved_on": self.moved_on,
            "longest_s": round(self.longest_s, 3),
            "slowest": self.slowest,
            "growth_mib": self.growth_mib,
            "resident_mib": self.resident_mib,
            "wrong": self.wrong,
        }


Call = Callable[[int, int], Awaitable[None]]
"""Makes the call of a number, as a client of a number."""


async def run(settings: Settings) -> dict[str, Any]:
    """Do it; returns the figures."""
    async with mutant_upstream(settings.seed) as upstream:
        gateway = GatewayProcess(_config(upstream.url, settings.at_once))
        try:
            await asyncio.to_thread(gateway.start)
            key = gateway.new_key()
            bodies = await _bodies(gateway, key, settings)
            streams = await _streams(gateway, key, settings)
            with Books(gateway.data_dir) as books:
                await asyncio.to_thread(books.wait_until_settled, SETTLED_WITHIN_S)
                still_open = books.open_reservations()
            restarted = gateway.starts_of("worker-0") - 1
        finally:
            await asyncio.to_thread(gateway.cleanup)
        return {
            "bodies": bodies.figures(),
            "streams": streams.figures() | {"played": upstream.played},
            "open_reservations": still_open,
            "workers_restarted": restarted,
        }


async def _bodies(gateway: GatewayProcess, key: str, settings: Settings) -> Tally:
    tally = Tally()
    callers = [Caller(gateway.data_url, key) for _ in range(settings.at_once)]

    async def call(client: int, number: int) -> None:
        path, body = damaged_body(settings.seed, number)
        tally.note(f"body {number}", await callers[client].call(path, body))

    await _all(call, settings.bodies, callers, gateway, tally)
    return tally


async def _streams(gateway: GatewayProcess, key: str, settings: Settings) -> Tally:
    """Each client has an upstream of its own; what failed serves a sound call next, so no breaker opens."""
    tally = Tally()
    callers = [Caller(gateway.data_url, key) for _ in range(settings.at_once)]

    async def call(client: int, number: int) -> None:
        seen = await callers[client].call(_CHAT, _chat(f"lane-{client}", str(number)))
        tally.note(f"stream {number}", seen)
        if seen.moved_on or seen.ended != "done":
            await callers[client].call(_CHAT, _chat(f"sound-{client}", "sound"))

    await _all(call, settings.streams, callers, gateway, tally)
    return tally


async def _all(call: Call, count: int, callers: list[Caller], gateway: GatewayProcess, tally: Tally) -> None:
    numbers = itertools.count()
    worker = gateway.pid("worker-0")
    tenth = max(1, count // 10)

    async def client(index: int) -> None:
        async with callers[index]:
            while (number := next(numbers)) < count:
                await call(index, number)
                if (number + 1) % tenth == 0:
                    tally.resident_mib.append(round(resident_kib(worker) / 1024, 2))

    await asyncio.gather(*(client(index) for index in range(len(callers))))


def _chat(model: str, user: str) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": model, "user": user, "messages": messages, "stream": True}).encode()


def _config(url: str, lanes: int) -> dict[str, Any]:
    here = {"base_url": url, "max_concurrency": 100_000}
    spare = [{"model": MODEL, "upstreams": ["spare"]}]
    return {
        "store": {"data_dir": "data", "timeout_ms": 2000, "settle_timeout_ms": 2000},
        "upstreams": {
            "spare": here | {"models": [MODEL]},
            **{f"lane-{n}": here | {"models": [MUTANT, "sound"]} for n in range(lanes)},
        },
        "aliases": {
            **{
                f"lane-{n}": {"model": MUTANT, "upstreams": [f"lane-{n}"], "fallbacks": spare}
                for n in range(lanes)
            },
            **{f"sound-{n}": {"model": "sound", "upstreams": [f"lane-{n}"]} for n in range(lanes)},
        },
        "limits": {"default": UNLIMITED},
    }


def is_good(figures: dict[str, Any]) -> bool:
    """Whether the gateway keeps its promise."""
    kinds = (figures["bodies"], figures["streams"])
    return (
        not any(kind["wrong"] for kind in kinds)
        and all(kind["longest_s"] <= LONGEST_S and kind["growth_mib"] <= MOST_GROWTH_MIB for kind in kinds)
        and not figures["open_reservations"]
        and not figures["workers_restarted"]
    )


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bodies", type=int, default=Settings.bodies)
    parser.add_argument("--streams", type=int, default=Settings.streams)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--at-once", type=int, default=Settings.at_once, help="calls at any time")
    settings = Settings(**vars(parser.parse_args()))
    figures = uvloop.run(run(settings))
    for kind in ("bodies", "streams"):
        for line in figures[kind]["wrong"][:_SHOWN]:
            sys.stdout.write(f"WRONG {line}\n")
        figures[kind]["wrong"] = len(figures[kind]["wrong"])
    sys.stdout.write(json.dumps(asdict(settings) | figures) + "\n")
    return 0 if is_good(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
