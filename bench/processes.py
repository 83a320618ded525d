"""Processes of a benchmark: start them on a core, read what they cost, end all of them.

The cost of a contender is what the scheduler says of every thread of every process in the session that its
start made: comparable on a noisy machine, and nothing that works in the background escapes it.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROXY_CORE, LOAD_CORE = 0, 1
STOP_DEADLINE_S = 10


@dataclass(frozen=True)
class Process:
    pid: int
    kind: str
    """`store` for a Valkey server, `worker`, `control` and so on for the gateway's, else the program."""

    @property
    def cpu_s(self) -> float:
        """CPU time of all its threads; 0 when it has ended."""
        total = 0
        for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[0])
            except OSError:
                continue
        return total / 1e9

    @property
    def waited_s(self) -> float:
        """How long its first thread was ready to run and something else had the core."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9

    @property
    def rss_kib(self) -> int:
        try:
            found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        except OSError:
            return 0
        return int(found[1]) if found else 0


def processes_of(session: int) -> list[Process]:
    """Return the living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
            command = path.with_name("cmdline").read_text().split("\0")
        except OSError:
            continue
        name = text[text.index("(") + 1 : text.rindex(")")]
        state, _, _, its_session, *_ = text[text.rindex(")") + 2 :].split()
        if int(its_session) == session and state != "Z":
            found.append(Process(int(path.parent.name), _kind(name, command)))
    return sorted(found, key=lambda process: process.pid)


def _kind(name: str, command: list[str]) -> str:
    if "valkey" in name or "redis" in name:
        return "store"
    for word in command:
        if word.startswith("gateway."):
            return word.removeprefix("gateway.").removesuffix(".__main__")
    return name


def cpu_seconds(session: int) -> tuple[float, float]:
    """Return the CPU time of a session's proxy processes, and of its store."""
    proxy = store = 0.0
    for process in processes_of(session):
        if process.kind == "store":
            store += process.cpu_s
        else:
            proxy += process.cpu_s
    return proxy, store


def memory_kib(session: int) -> dict[str, list[int]]:
    """Return the resident memory of a session's processes by their kind, one figure a process."""
    found = defaultdict(list)
    for process in processes_of(session):
        found[process.kind].append(process.rss_kib)
    return dict(found)


def start(
    command: list[str],
    core: int,
    log: IO[bytes],
    *,
    env: dict[str, str] | None = None,
    out: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` on `core`, in a session of its own; it says to `log`, or to `out`, what it says."""
    own_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # inherited by the child, and by its children
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out or log,
            stderr=log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    finally:
        os.sched_setaffinity(0, own_cores)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the session's leader to end, then kill what is left of the session."""
    process.terminate()
    if not _ended(process, STOP_DEADLINE_S):
        print(f"{process.args[0]} did not end in {STOP_DEADLINE_S} s: killed", file=sys.stderr)
        for left in processes_of(process.pid):
            os.kill(left.pid, signal.SIGKILL)
        _ended(process, STOP_DEADLINE_S)
    process.wait()


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None and not processes_of(process.pid):
            return True
        time.sleep(0.02)
    return False
