"""Clients that ask for a stream and stop reading: what they cost a worker, and that they are cut.

    python3 dev.py chaos readers [--readers 1000] [--stall 30]

Each asks for 50 MB and reads nothing. Prints one line of JSON; the exit code is 1 where a reader costs the
worker more than 256 KiB, or one is not cut.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds only what is beside it

from tests.chaos.kit.plain_gateway import plain_gateway
from tests.chaos.kit.wire import Wire, request
from tests.e2e.gateway_process import GatewayProcess

MOST_KIB = 256
_WARM_UP = 32
_MEGABYTES = 50
_RECEIVE_BUFFER = 4096
_PATIENCE_S = (
    60.0  # for a machine that does other things: a reader is stopped once its stream has come so far
)
_LOOK_EVERY_S = 0.1
_LEAVE_AFTER_S = 0.5
_LOAD_S = 1.5


@dataclass(frozen=True)
class Settings:
    """Of a run; `stall` is `server.write_stall_s`."""

    readers: int = 1000
    stall: float = 30


def run(settings: Settings) -> dict[str, Any]:
    """Measure; returns the figures."""
    with plain_gateway(write_stall_s=settings.stall) as gateway:
        return uvloop.run(_measure(gateway, gateway.new_key(), settings))


async def _measure(gateway: GatewayProcess, key: str, settings: Settings) -> dict[str, Any]:
    pid = gateway.pid("worker-0")
    warm = request(key, "flood 1", stream=True)
    for _ in range(3):  # what a worker takes once, whoever calls
        await asyncio.gather(*(_read_all(gateway.data_url, warm) for _ in range(_WARM_UP)))
    await _leave(gateway.data_url, request(key, "words 100 0.01", stream=True))
    before_kib, before_sockets = resident_kib(pid), sockets_of(pid)
    content = request(key, f"flood {_MEGABYTES}", stream=True)
    began = time.monotonic()
    readers: list[Wire] = []
    for _ in range(settings.readers):
        readers.append(await Wire.connect(gateway.data_url, _RECEIVE_BUFFER))
        readers[-1].stop_reading()
        readers[-1].send(content)
    started_s = time.monotonic() - began
    deadline = began + 2 * settings.stall + _PATIENCE_S
    earliest = began + settings.stall
    most_kib = before_kib
    most_sockets = before_sockets
    while True:
        sockets = sockets_of(pid)
        most_sockets = max(most_sockets, sockets)
        most_kib = max(most_kib, resident_kib(pid))
        now = time.monotonic()
        if now > deadline or (now > earliest and sockets <= before_sockets):
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    figures = {
        "readers": settings.readers,
        "kib_each": round((most_kib - before_kib) / settings.readers, 1),
        "worker_mib": {"before": round(before_kib / 1024, 1), "most": round(most_kib / 1024, 1)},
        "sockets": {"before": before_sockets, "most": most_sockets, "after": sockets},
        "all_sent_after_s": round(started_s, 1),
        "all_cut_after_s": round(time.monotonic() - began, 1),
    }
    for reader in readers:
        reader.abort()
    return figures


async def _leave(url: str, content: bytes) -> None:
    """Leave in the middle: the worker loads its tokenizer, 45 MB, for which no reader is to blame."""
    wire = await Wire.connect(url)
    wire.send(content)
    await asyncio.sleep(_LEAVE_AFTER_S)
    wire.abort()
    await asyncio.sleep(_LOAD_S)


async def _read_all(url: str, content: bytes) -> None:
    wire = await Wire.connect(url)
    answer = await wire.call(content)
    wire.abort()
    assert answer.is_whole, answer


def resident_kib(pid: int) -> int:
    """The resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def sockets_of(pid: int) -> int:
    """How many sockets a process has open."""
    found = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found += file.readlink().name.startswith("socket:")
    return found


def is_good(figures: dict[str, Any]) -> bool:
    """Whether the gateway keeps its promise."""
    sockets = figures["sockets"]
    is_cheap = figures["kib_each"] <= MOST_KIB
    return is_cheap and sockets["most"] >= figures["readers"] and sockets["after"] <= sockets["before"]


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--stall", type=float, default=30)
    settings = Settings(**vars(parser.parse_args()))
    figures = run(settings)
    sys.stdout.write(json.dumps(asdict(settings) | figures) + "\n")
    return 0 if is_good(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
