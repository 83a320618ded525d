"""What processes take: memory and open files, looked at again and again."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.readers import resident_kib
from tests.e2e.gateway_process import GatewayProcess

_COMPLAINT = re.compile(rb'"level": ?"(?:error|critical)"|^Traceback')
_SHOWN = 20
_EDGE = 0.1


@dataclass(frozen=True)
class Sample:
    """One look: when (seconds from the beginning), and MiB and open files by process."""

    at_s: float
    mib: dict[str, float]
    files: dict[str, int]
    calls: int


@dataclass
class Watch:
    """Looks at a gateway's processes, and keeps its log short.

    Attributes:
        complaints: lines of the log that report an error.
    """

    gateway: GatewayProcess
    workers: int
    samples: list[Sample] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = ("control", "store", *(f"worker-{n}" for n in range(self.workers)))
        self.pids = {"supervisor": self.gateway.process.pid} | {n: self.gateway.pid(n) for n in names}

    @property
    def dead(self) -> list[str]:
        """Processes that are not those of the beginning any more."""
        return [name for name, pid in self.pids.items() if not Path(f"/proc/{pid}/fd").exists()]

    def files(self) -> dict[str, int]:
        """How many files each process has open."""
        return {name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in self.pids.items()}

    def look(self, at_s: float, calls: int) -> None:
        """Take a sample."""
        mib = {name: round(resident_kib(pid) / 1024, 2) for name, pid in self.pids.items()}
        self.samples.append(Sample(round(at_s, 1), mib, self.files(), calls))
        self.read_log()

    def read_log(self) -> None:
        """Keep what the log complains of, and empty it: half an hour of access lines is a gigabyte."""
        path = self.gateway.log_path
        lines = path.read_bytes().splitlines()
        path.write_bytes(b"")  # it is appended to, so nothing is written behind a hole
        found = [line.decode(errors="replace") for line in lines if _COMPLAINT.search(line)]
        self.complaints += found[: _SHOWN - len(self.complaints)]

    async def run(self, every_s: float, calls: Callable[[], int]) -> None:
        """Look until cancelled."""
        began = time.monotonic()
        while True:
            self.look(time.monotonic() - began, calls())
            await asyncio.sleep(every_s)


def growth_mib(samples: list[Sample], name: str, since_s: float) -> float:
    """How much more a process takes at the end than at `since_s`: medians of the first and last tenth."""
    taken = [each.mib[name] for each in samples if each.at_s >= since_s]
    edge = max(1, round(len(taken) * _EDGE))
    return round(statistics.median(taken[-edge:]) - statistics.median(taken[:edge]), 2)
