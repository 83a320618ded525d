"""One run: a gateway on an empty folder, load, blows, a quiet end, and what the checker says of it all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.chaos.kit.books import Books
from tests.chaos.kit.checker import Dispatch, Logs, Prices, Verdict, check
from tests.chaos.kit.clients import Clients, Key
from tests.chaos.kit.killer import Killer
from tests.chaos.kit.upstream import FIRST_MODEL
from tests.e2e.gateway_process import GatewayProcess

ROOT = Path(__file__).parents[3]
SETTLED_WITHIN_S = 60.0
"""Of an unbroken store, after the last process died."""

STOP_S = 20.0
PRICES = Prices(prompt=1_000, completion=2_000)
_USD_PER_MILLION = {"input": 1, "output": 2}


@dataclass(frozen=True)
class Settings:
    """Of a run.

    Args:
        every_s: the average time between blows.
        rate: calls a second; 0 = all it can.
        without_store: what the gateway does with calls while its store is away; see docs/reliability.md.
    """

    requests: int
    seed: int
    workers: int = 2
    every_s: float = 1.0
    rate: float = 0
    without_store: str = "closed"


@dataclass(frozen=True)
class Result:
    """What a run found. `settled_after_s` is how long after the last call everything was settled."""

    verdict: Verdict
    logs: Logs
    hits: dict[str, int]
    load_s: float
    settled_after_s: float
    journals_left: list[str]

    @property
    def is_good(self) -> bool:
        return not self.verdict.violations and not self.journals_left

    def figures(self, settings: Settings) -> dict[str, Any]:
        """For one line of JSON."""
        return {
            **asdict(settings),
            **self.verdict.figures,
            "violations_by_kind": self.verdict.by_kind,
            "killed": self.hits,
            "load_s": round(self.load_s, 1),
            "settled_after_s": round(self.settled_after_s, 1),
            "journals_left": len(self.journals_left),
        }


def run(settings: Settings) -> Result:
    """Do it."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tunegate-chaos-"))
        log = Path(folder) / "upstream.log"
        upstream, port = stack.enter_context(running_upstream(log))
        gateway = GatewayProcess(_config(settings, port))
        stack.callback(gateway.cleanup)
        gateway.start()
        keys = _keys(gateway)
        killer = Killer(gateway, settings.seed, settings.every_s)
        clients = Clients(keys, settings.requests, settings.seed, killer.address, rate=settings.rate)
        began = time.monotonic()
        asyncio.run(_load(clients, killer))
        load_s = time.monotonic() - began
        with Books(gateway.data_dir) as books:
            settled_after_s = books.wait_until_settled(SETTLED_WITHIN_S)
            upstream.send_signal(signal.SIGTERM)
            upstream.wait(STOP_S)
            logs = Logs(
                calls=clients.seen,
                dispatches=dispatches(log),
                entries=books.entries(),
                accounts=[books.account(key) for key in keys],
                open_reservations=books.open_reservations(),
                counted=books.counted(),
                prices=PRICES,
            )
            journals = books.journals()
        return Result(check(logs), logs, dict(killer.hits), load_s, settled_after_s, journals)


async def _load(clients: Clients, killer: Killer) -> None:
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:  # so that a gateway that does not come back ends the run
        group.create_task(killer.run(over))
        await clients.run()
        over.set()


def _config(settings: Settings, port: int) -> dict[str, Any]:
    unlimited = {"rpm": None, "tpm": None, "concurrency": None}
    return {
        "server": {"workers": settings.workers, "drain_grace_s": 0.1, "drain_timeout_s": 5},
        "upstreams": {"chaos": {"base_url": f"http://127.0.0.1:{port}/v1", "models": ["chaos-*"]}},
        "aliases": {"chaos": {"model": FIRST_MODEL, "fallbacks": ["chaos-two"]}},
        "prices": {"chaos-*": _USD_PER_MILLION},
        "limits": {"default": unlimited},
        "on_store_failure": {"limits": settings.without_store},
    }


def _keys(gateway: GatewayProcess) -> list[Key]:
    """Without a budget, with one that lasts, with one that is soon spent, with credit, with a limit."""
    month = {"usd": 1000, "period": "month"}
    found = [key_of(gateway, None, name=f"free {number}") for number in range(4)]
    found += [key_of(gateway, 1000, name=f"roomy {number}", budget=month) for number in range(4)]
    found += [
        key_of(gateway, 1000, name="credit", credit_usd=1000),
        key_of(gateway, 0.02, 1, name="tight", budget={"usd": 0.02, "period": "total"}),
        key_of(gateway, 0.01, 1, name="tighter", budget={"usd": 0.01, "period": "day"}),
        key_of(gateway, 0.02, 1, name="little credit", credit_usd=0.02),
        key_of(gateway, None, 3, name="limited", limits={"rpm": 6000, "tpm": None, "concurrency": 2}),
    ]
    return found


def key_of(gateway: GatewayProcess, usd: float | None, weight: int = 10, **fields: Any) -> Key:
    issued = gateway.issue_key(**fields)
    return Key(issued["id"], issued["key"], None if usd is None else round(usd * 10**9), weight)


@contextlib.contextmanager
def running_upstream(log: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The upstream's process, which writes `log` at its end, and its port."""
    process = subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-m", "tests.chaos.kit.upstream", log], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait(STOP_S)
        assert process.stdout is not None
        process.stdout.close()


def dispatches(log: Path) -> list[Dispatch]:
    """What the upstream was asked."""
    return [Dispatch(*json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines()]


def save(logs: Logs, folder: Path) -> None:
    """Keep the three logs, for whoever wants to see what went wrong."""
    parts: dict[str, list[Any]] = {
        "client": [asdict(call) for call in logs.calls],
        "upstream": [asdict(dispatch) for dispatch in logs.dispatches],
        "ledger": [{"kind": entry.kind, **entry.record} for entry in logs.entries],
    }
    for name, lines in parts.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
