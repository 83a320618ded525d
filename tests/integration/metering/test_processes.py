"""Processes that are killed, and disks that refuse: whole processes on a real server."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.metering.lines import line
from tests.integration.metering.bench import on_disk, passes
from tests.support.polling import until

ROOT = Path(__file__).parents[3]


class Child:
    """A running `child.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        raw = await asyncio.wait_for(self.process.stdout.readline(), 30)
        assert raw, "the child ended"
        return raw.decode().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def fates(self, count: int) -> dict[str, str]:
        return dict([(await self.line()).split() for _ in range(count)])

    async def kill(self) -> dict[str, str]:
        """End it with SIGKILL; returns the fates that it could still tell."""
        self.process.kill()
        rest = (await self.process.communicate())[0].decode().split("\n")[:-1]
        return dict(each.split() for each in rest if " " in each)


@asynccontextmanager
async def child(server, folder, name, *, count, file_bytes=0, log=None) -> AsyncIterator[Child]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.metering.child"),
        *(server.url, str(folder), name, str(count), str(file_bytes)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
    )
    running = Child(process)
    try:
        assert await running.line() == "admitted"
        yield running
    finally:
        if process.returncode is None:
            await running.kill()


@pytest.mark.parametrize("told", [1, 120])
async def test_what_a_killed_process_had_journaled_is_replayed_by_another(
    server, folder, control, ledger, told
):
    async with child(server, folder, "w1", count=300) as worker:
        server.pause()
        worker.go()
        fates = await worker.fates(told)
        fates |= await worker.kill()
    assert set(fates.values()) == {"journaled"}
    assert set(on_disk(folder)) >= set(fates)
    journal = next(folder.glob("*.journal"))
    with journal.open("ab") as file:  # what a kill in the middle of a write leaves
        file.write(line(b"{}")[:-5])
    server.resume()
    control.start_sweeper()
    await until(lambda: len(ledger.ids) >= 300, "the sweep", within_s=10)
    await passes(0.2)
    assert len(ledger.ids) == len(set(ledger.ids)) == 300
    assert {kind for kind, _ in ledger.entries()} == {"event"}
    states = ledger.states
    assert {states[request_id] for request_id in fates} == {"exact"}
    assert (ledger.open, ledger.held_nanousd) == ([], 0)
    assert list(folder.iterdir()) == []


async def test_a_disk_that_refuses_data_and_log_loses_nothing(server, folder, ledger, tmp_path):
    log = tmp_path / "log"
    log.write_bytes(1000 * b"x")
    with log.open("ab") as stderr:
        async with child(server, folder, "w1", count=40, file_bytes=300, log=stderr) as worker:
            server.pause()
            worker.go()
            fates = await worker.fates(40)
            assert set(fates.values()) == {"unsaved"}
            assert on_disk(folder) == []
            server.resume()
            assert await worker.line() == "replayed"
    assert log.stat().st_size == 1000  # nothing could be logged
    assert sorted(ledger.ids) == sorted(fates)
    assert set(ledger.states.values()) == {"exact"}


async def test_a_disk_with_little_room_is_used_to_the_last_bit(server, folder, ledger):
    async with child(server, folder, "w1", count=40, file_bytes=4000) as worker:
        server.pause()
        worker.go()
        assert set((await worker.fates(40)).values()) == {"journaled"}
        assert len(on_disk(folder)) == 40
        assert len(list(folder.iterdir())) > 5
        server.resume()
        assert await worker.line() == "replayed"
    assert len(ledger.ids) == len(set(ledger.ids)) == 40
    assert list(folder.iterdir()) == []
