"""Half the load for a long time, with faults: whether memory grows, files stay open or money is lost.

    python3 dev.py chaos soak [--minutes 5] [--workers 2] [--rate 0] [--write]

An upstream behind a proxy is spoiled in every way that the proxy knows, another serves what it does not; the
store stands still now and then; clients leave. The rate is half of what a closed loop of the same calls gets
at best, unless it is given. Prints memory (MiB) and open files of each process as it goes and, last, one line
of JSON. The exit code is 1 where a process of the gateway grew by 2 MiB or more over the last two thirds of
the run (at most 20 minutes), has more files open than before, or died; where a reservation stayed open or the
audit found a difference; or where the log complains. `--write` keeps picture and figures in docs/.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds only what is beside it

from tests.chaos.kit.books import Books
from tests.chaos.kit.plain_gateway import UNLIMITED
from tests.chaos.kit.plain_upstream import plain_upstream
from tests.chaos.soak_kit.faults import faults
from tests.chaos.soak_kit.load import Load
from tests.chaos.soak_kit.page import part, with_part
from tests.chaos.soak_kit.picture import picture
from tests.chaos.soak_kit.verdict import MOST_FILES_MORE, Verdict
from tests.chaos.soak_kit.watch import Sample, Watch, growth_mib
from tests.e2e.gateway_process import TUNEGATE, GatewayProcess
from tests.support.fault_proxy import FaultProxy, fault_proxy

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "pictures" / "soak.svg"
PAGE = ROOT / "docs" / "operations.md"

LOOKS = 240
LEAST_LOOK_S = 1.0
MOST_WINDOW_MIN = 20.0
PEAK_S = 6.0
CLIENTS = 128
QUIET_WITHIN_S = 120.0
AUDIT_WITHIN_S = 900.0


@dataclass(frozen=True)
class Settings:
    """Of a run. `rate`: calls a second; 0 = half of the best."""

    minutes: float = 5
    workers: int = 2
    rate: float = 0

    @property
    def window_s(self) -> float:
        """How much of the run's end is judged."""
        return min(MOST_WINDOW_MIN, self.minutes * 2 / 3) * 60


async def run(settings: Settings) -> tuple[Verdict, list[Sample]]:
    """Do it."""
    with ExitStack() as stack:
        direct = stack.enter_context(plain_upstream())
        async with fault_proxy("127.0.0.1", urlsplit(direct).port or 0) as proxy:
            gateway = GatewayProcess(_config(settings, direct, proxy))
            try:
                await asyncio.to_thread(gateway.start)
                return await _soak(settings, gateway, proxy)
            finally:
                await asyncio.to_thread(gateway.cleanup)


async def _soak(
    settings: Settings, gateway: GatewayProcess, proxy: FaultProxy
) -> tuple[Verdict, list[Sample]]:
    keys = [gateway.new_key(), gateway.new_key(budget={"usd": "1000000", "period": "total"})]
    load = Load(gateway.data_url, keys, "soak")
    watch = Watch(gateway, settings.workers)
    peak = await load.run(PEAK_S, CLIENTS * 2)
    rate = settings.rate or peak / 2
    say(f"peak {peak:.0f} calls a second; {rate:.0f} a second for {settings.minutes:g} minutes")
    before = watch.files()
    load.ended.clear()
    looking = asyncio.create_task(
        watch.run(max(LEAST_LOOK_S, settings.minutes * 60 / LOOKS), lambda: load.calls)
    )
    telling = asyncio.create_task(_tell(watch))
    async with faults(proxy, watch.pids["store"]) as seen:
        await load.run(settings.minutes * 60, CLIENTS, rate)
    for task in (looking, telling):
        task.cancel()
    await asyncio.gather(looking, telling, return_exceptions=True)
    with Books(gateway.data_dir) as books:
        await asyncio.to_thread(books.wait_until_settled, QUIET_WITHIN_S)
        still_open, journals = books.open_reservations(), len(books.journals())
    after = await _quiet_files(watch, before)
    audit = await asyncio.to_thread(_audit, gateway)
    watch.read_log()
    since_s = settings.minutes * 60 - settings.window_s
    samples = watch.samples
    verdict = Verdict(
        minutes=settings.minutes,
        window_minutes=round(settings.window_s / 60, 1),
        peak_per_s=round(peak, 1),
        rate_per_s=round(rate, 1),
        calls=dict(sorted(load.ended.items())),
        faults=dict(sorted(seen.items())),
        growth_mib={n: growth_mib(samples, n, since_s) for n in watch.pids if n != "store"},
        store_mib=(samples[0].mib["store"], samples[-1].mib["store"]),
        files={name: (before[name], after[name]) for name in before},
        open_reservations=still_open,
        journals_left=journals,
        audit=(audit.stdout + audit.stderr).strip().splitlines()[-1],
        audit_exit=audit.returncode,
        died=watch.dead,
        complaints=watch.complaints,
    )
    return verdict, samples


async def _quiet_files(watch: Watch, before: dict[str, int]) -> dict[str, int]:
    """Open files once connections that are kept for a while are gone, at the latest after some time."""
    deadline = time.monotonic() + QUIET_WITHIN_S
    while True:
        files = watch.files()
        if all(files[n] <= before[n] + MOST_FILES_MORE for n in files) or time.monotonic() > deadline:
            return files
        await asyncio.sleep(LEAST_LOOK_S)


async def _tell(watch: Watch) -> None:
    """Print a line now and then."""
    told = 0
    while True:
        await asyncio.sleep(LEAST_LOOK_S)
        if watch.samples and watch.samples[-1].at_s >= told * 30:
            told += 1
            last = watch.samples[-1]
            taken = "  ".join(f"{name} {mib:.1f}/{last.files[name]}" for name, mib in last.mib.items())
            say(f"{last.at_s:6.0f} s  {last.calls:>9,} calls  {taken}")


def _audit(gateway: GatewayProcess) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own command
        [TUNEGATE, "ledger", "audit"],
        check=False,
        capture_output=True,
        text=True,
        timeout=AUDIT_WITHIN_S,
        env={"PATH": "", "TUNEGATE_ADMIN_KEY": gateway.admin_key, "TUNEGATE_ADMIN_URL": gateway.admin_url},
    )


def _config(settings: Settings, direct: str, proxy: FaultProxy) -> dict[str, Any]:
    here = {"models": ["plain"], "max_concurrency": 10_000}
    soon = {"connect_s": 1, "first_token_s": 2, "idle_s": 2, "total_s": 30}
    return {
        "server": {"workers": settings.workers, "drain_grace_s": 0.1, "drain_timeout_s": 5},
        "upstreams": {
            "shaky": here | {"base_url": f"http://127.0.0.1:{proxy.port}/v1", "timeouts": soon},
            "steady": here | {"base_url": direct, "timeouts": soon},
        },
        "aliases": {"soak": {"model": "plain", "upstreams": ["shaky", "steady"]}},
        "prices": {"plain": {"input": 1, "output": 2}},
        "limits": {"default": UNLIMITED},
    }


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write(verdict: Verdict, samples: list[Sample], since_s: float) -> None:
    """Keep picture and figures in docs/."""
    names = [name for name in samples[0].mib if name != "store"]
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(
        picture(
            samples, names, since_s, f"Memory over {verdict.minutes:g} minutes at half load, with faults"
        ),
        encoding="utf-8",
    )
    PAGE.write_text(with_part(PAGE.read_text(encoding="utf-8"), part(verdict)), encoding="utf-8")


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=Settings.minutes)
    parser.add_argument("--workers", type=int, default=Settings.workers)
    parser.add_argument(
        "--rate", type=float, default=Settings.rate, help="calls a second; 0 = half of the best"
    )
    parser.add_argument("--write", action="store_true", help="keep picture and figures in docs/")
    given = parser.parse_args()
    settings = Settings(given.minutes, given.workers, given.rate)
    verdict, samples = uvloop.run(run(settings))
    if given.write:
        write(verdict, samples, settings.minutes * 60 - settings.window_s)
    for wrong in verdict.wrongs:
        say(f"WRONG {wrong}")
    say(json.dumps(verdict.figures))
    return 1 if verdict.wrongs else 0


if __name__ == "__main__":
    sys.exit(main())
