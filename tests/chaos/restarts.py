"""Replaces the workers again and again under live streams, and counts what that costs their clients.

    python3 dev.py chaos restarts [--restarts 50] [--streams 100] [--workers 2]

Each client reads one stream of about three seconds after the other; half of them keep their connection for
as long as the gateway lets them, half take a new one for each stream. Each SIGUSR1 waits for the one before
it. Last comes one line of JSON; the exit code is 1 where a stream was cut or a connection refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds only what is beside it

from tests.chaos.kit.plain_gateway import plain_gateway
from tests.chaos.kit.wire import Wire, request
from tests.e2e.gateway_process import GatewayProcess
from tests.support.polling import until

_STREAM = "words 30 0.1"
_REPLACED_WITHIN_S = 60.0


@dataclass(frozen=True)
class Settings:
    """Of a run."""

    restarts: int = 50
    streams: int = 100
    workers: int = 2


@dataclass
class Seen:
    """What the clients saw."""

    whole: int = 0
    failures: Counter[str] = field(default_factory=Counter)


def run(settings: Settings) -> dict[str, Any]:
    """Measure; returns the figures."""
    with plain_gateway(workers=settings.workers, drain_grace_s=0.5, drain_timeout_s=20) as gateway:
        figures = uvloop.run(_measure(gateway, gateway.new_key(), settings))
        return figures | {"exit_code": gateway.stop()}


async def _measure(gateway: GatewayProcess, key: str, settings: Settings) -> dict[str, Any]:
    seen = Seen()
    over = asyncio.Event()
    content = request(key, _STREAM, stream=True)
    began = time.monotonic()
    async with asyncio.TaskGroup() as clients:
        for number in range(settings.streams):
            clients.create_task(_read(gateway.data_url, content, seen, over, keeps=number % 2 == 0))
        for number in range(settings.restarts):
            await _replace(gateway, number + 1)
        over.set()
    killed = gateway.logged("child_killed")
    return {
        "streams_whole": seen.whole,
        "streams_failed": dict(seen.failures),
        "workers_started": sum(gateway.starts_of(f"worker-{n}") for n in range(settings.workers)),
        "workers_killed": len(killed),
        "took_s": round(time.monotonic() - began, 1),
    }


async def _replace(gateway: GatewayProcess, times: int) -> None:
    gateway.process.send_signal(signal.SIGUSR1)
    await until(
        lambda: len(gateway.logged("workers_replaced")) >= times,
        f"replacement {times}",
        within_s=_REPLACED_WITHIN_S,
    )


async def _read(url: str, content: bytes, seen: Seen, over: asyncio.Event, *, keeps: bool) -> None:
    wire: Wire | None = None
    while not over.is_set():
        try:
            wire = wire or await Wire.connect(url)
            answer = await wire.call(content)
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.failures[type(error).__name__] += 1
            wire = None
            continue
        if answer.status == 200 and answer.is_whole:
            seen.whole += 1
        else:
            seen.failures[str(answer.code or "no [DONE]")] += 1
        if not (keeps and wire.is_open):
            wire.abort()
            wire = None
    if wire is not None:
        wire.abort()


def is_good(figures: dict[str, Any]) -> bool:
    """Whether the gateway keeps its promise."""
    return not figures["streams_failed"] and not figures["workers_killed"] and figures["exit_code"] == 0


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    settings = Settings(**vars(parser.parse_args()))
    figures = run(settings)
    sys.stdout.write(json.dumps(asdict(settings) | figures) + "\n")
    return 0 if is_good(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
