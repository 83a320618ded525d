"""The child process as the supervisor starts it."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest


@dataclass
class Child:
    process: subprocess.Popen[bytes]
    socket: Path
    lifeline: int

    def models(self) -> int:
        transport = httpx2.HTTPTransport(uds=str(self.socket))
        with httpx2.Client(transport=transport) as client:
            return len(client.get("http://demo/v1/models").json()["data"])


@pytest.fixture
def child(folder: Path) -> Iterator[Child]:
    path = folder / "demo.sock"
    path.touch()  # what a predecessor left is no obstacle
    ready_read, ready_write = os.pipe()
    lifeline_read, lifeline_write = os.pipe()
    argv = [sys.executable, "-m", "gateway.demo", "--runtime", str(folder), "--socket", str(path)]
    argv += ["--ready-fd", str(ready_write), "--lifeline-fd", str(lifeline_read)]
    process = subprocess.Popen(argv, pass_fds=(ready_write, lifeline_read))  # noqa: S603 - our own module
    os.close(ready_write)
    os.close(lifeline_read)
    try:
        with os.fdopen(ready_read) as pipe:
            assert pipe.read() == "ready\n"
        yield Child(process, path, lifeline_write)
    finally:
        process.kill()
        process.wait()
        os.close(lifeline_write)


def test_it_serves_on_a_socket_of_its_own_and_stays_small(child: Child) -> None:
    assert child.models() == 4
    assert stat.S_IMODE(child.socket.stat().st_mode) == 0o600
    if sys.platform == "linux":
        pages = int(Path(f"/proc/{child.process.pid}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < 40_000_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(child: Child, number: signal.Signals) -> None:
    child.process.send_signal(number)
    assert child.process.wait(10) == 0


def test_it_dies_with_the_supervisor(child: Child) -> None:
    spare = os.open(os.devnull, os.O_RDONLY)
    os.dup2(spare, child.lifeline)  # closes the only write end of the lifeline
    os.close(spare)
    assert child.process.wait(10) == 0
