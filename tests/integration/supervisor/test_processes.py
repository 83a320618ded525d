"""Single processes, kept and let go of in this one."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.supervisor.children import Child, NotReady
from gateway.supervisor.keeper import Keeper
from gateway.supervisor.processes import Process, Processes
from tests.integration.supervisor.gateway_run import ROOT
from tests.support.polling import until

DEAF = "trap '' TERM INT USR2; echo ready >&$0; while :; do sleep 0.05; done"


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    processes = Processes()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, processes.reap)
    yield processes
    for process in processes.alive:
        await process.stop(signal.SIGKILL, 0)
    loop.remove_signal_handler(signal.SIGCHLD)


def shell(processes: Processes, script: str, notes: list[str]) -> Child:
    """A child that is a line of shell; `$0` is its end of the pipe."""
    ours, theirs = os.pipe()
    process = processes.start("shell", ["bash", "-c", script, str(theirs)], pass_fds=[theirs])
    os.close(theirs)
    return Child(process, ours, notes.append)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def test_the_exit_is_told_as_a_code_or_a_signal(processes: Processes) -> None:
    first = processes.start("a", ["sh", "-c", "exit 7"])
    second = processes.start("b", ["sleep", "600"])
    assert await first.ended_within(5)
    assert first.exited.result() == 7
    assert processes.alive == [second]
    second.signal(signal.SIGHUP)
    assert await second.exited == -signal.SIGHUP
    second.signal(signal.SIGHUP)  # to nobody


async def test_a_stop_ends_by_force_what_does_not_listen(processes: Processes) -> None:
    deaf = shell(processes, DEAF, [])
    await deaf.ready()
    assert not await deaf.process.stop(signal.SIGTERM, 0.05)
    assert deaf.process.exited.result() == -signal.SIGKILL


@pytest.mark.parametrize("tie", ["kernel", "shell"])
def test_a_foreign_program_ends_when_its_parent_is_killed(tie: str) -> None:
    with subprocess.Popen(  # noqa: S603  # our own arguments
        [sys.executable, "-m", "tests.integration.supervisor.orphan", tie], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    asyncio.run(until(lambda: not is_running(pid)))


async def test_our_death_between_fork_and_exec_is_not_missed(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gateway.supervisor.processes.parent_death_signal", lambda number: os.kill(os.getpid(), number)
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: None)  # as in a supervisor; a fork has it too
    program = processes.start("program", ["sleep", "600"], foreign=True)
    assert await program.ended_within(5)
    assert program.exited.result() == -signal.SIGTERM
    loop.remove_signal_handler(signal.SIGTERM)


async def test_the_shell_that_guards_a_program_goes_with_it() -> None:
    processes = Processes(kernel_tie=False)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, processes.reap)
    program = processes.start("program", ["sleep", "600"], foreign=True)
    assert [process.name for process in processes.alive] == ["program", "program-guard"]
    await program.stop(signal.SIGTERM, 5)
    await until(lambda: not processes.alive)
    loop.remove_signal_handler(signal.SIGCHLD)


async def test_a_child_that_stays_silent_is_ended(processes: Processes) -> None:
    silent = shell(processes, "sleep 600", [])
    with pytest.raises(NotReady, match=r"shell was not ready after 0\.05 s"):
        await silent.ready(0.05)
    assert not silent.is_ready
    assert processes.alive == []


async def test_a_note_written_in_the_last_moment_is_not_lost(processes: Processes) -> None:
    notes: list[str] = []
    child = shell(processes, "echo note: admin key: x >&$0; exit 3", notes)
    with pytest.raises(NotReady, match="exit code 3"):
        await child.ready()
    assert notes == ["admin key: x"]


async def test_lines_may_come_in_pieces(processes: Processes) -> None:
    notes: list[str] = []
    child = shell(
        processes, "printf 'note: o' >&$0; sleep 0.02; printf 'ne\\nnoise\\nrea' >&$0; echo dy >&$0", notes
    )
    await child.ready()
    assert notes == ["one"]


async def test_a_retired_child_that_does_not_end_is_killed(processes: Processes) -> None:
    started: list[Process] = []

    def launch(_because: str) -> Child:
        child = shell(processes, DEAF, [])
        started.append(child.process)
        return child

    keeper = Keeper("deaf", launch, retire_within_s=0.05)
    await keeper.start()
    await keeper.replace("asked")
    assert await started[0].exited == -signal.SIGKILL
    assert processes.alive == started[1:]
    await keeper.stop(signal.SIGTERM, 0.05)
    assert processes.alive == []
