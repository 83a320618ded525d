"""Starting processes so that none outlives us, and noticing when one ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from gateway.process import parent_death_signal

_GUARD = 'read _; kill "$1"'  # `read` returns at the lifeline's end


class Process:
    """One running process. `exited` becomes its exit code: negative = the signal that killed it."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], exited: asyncio.Future[int]) -> None:
        self.name = name
        self.pid = popen.pid
        self.exited = exited
        self._popen = popen
        self._since = time.monotonic()

    def signal(self, number: int) -> None:
        """Send a signal unless the process has ended. We alone reap, so its pid is never another's."""
        if not self.exited.done():
            os.kill(self.pid, number)

    async def ended_within(self, seconds: float) -> bool:
        """Wait for the end, at most so long. Cancelling the wait changes nothing."""
        await asyncio.wait({self.exited}, timeout=seconds)
        return self.exited.done()

    async def stop(self, number: int, within_s: float) -> bool:
        """Send `number`, and SIGKILL when that did not end it in time. True = it ended by itself."""
        self.signal(number)
        if await self.ended_within(within_s):
            return True
        self.signal(signal.SIGKILL)
        await asyncio.wait({self.exited})
        return False

    @property
    def alive_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._since

    def ended(self, code: int) -> None:
        """Only for `Processes.reap`, which did the waiting."""
        self._popen.returncode = code  # so that Popen neither waits nor complains
        self.exited.set_result(code)


class Processes:
    """Every process of ours that has not ended.

    Two ties hold each one to us: a signal from the kernel when we die (Linux), and the lifeline, a pipe that
    ends with us. Our own programs watch it themselves; for foreign ones a shell does, where the kernel
    sends nothing.

    Args:
        kernel_tie: whether the kernel signals children of the dead.
    """

    def __init__(self, *, kernel_tie: bool = sys.platform == "linux") -> None:
        self._kernel_tie = kernel_tie
        self._alive: dict[int, Process] = {}
        # The write end is ours alone: Python's descriptors close at exec. Its closing is our death.
        self.lifeline, self._lifeline_end = os.pipe()

    @property
    def alive(self) -> list[Process]:
        """Those that have not ended, oldest first."""
        return list(self._alive.values())

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        pass_fds: Sequence[int] = (),
        foreign: bool = False,
        stdin: int = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program in a process group of its own, within our session; stdout and stderr are ours.

        Its own group, because a terminal's Ctrl-C reaches a whole group and the order of stopping is ours to
        keep. A `foreign` program does not watch the lifeline; at our death it gets SIGTERM, ours get SIGKILL.
        `env` replaces our own environment.
        """
        us = os.getpid()

        def tie() -> None:  # between fork and exec
            if self._kernel_tie:
                # Until exec our own handlers are in force here, and would swallow the news of our death.
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                parent_death_signal(signal.SIGTERM if foreign else signal.SIGKILL)
                if os.getppid() != us:  # we died before the kernel knew of the wish
                    os._exit(1)

        popen = subprocess.Popen(
            argv,
            pass_fds=pass_fds,
            stdin=stdin,
            env=env,
            process_group=0,
            preexec_fn=tie,  # noqa: PLW1509 - unsafe beside threads only; the supervisor has none
        )
        process = Process(name, popen, asyncio.get_running_loop().create_future())
        self._alive[process.pid] = process
        if foreign and not self._kernel_tie:
            self._guard(process)
        return process

    def reap(self) -> None:
        """Note who ended; for the SIGCHLD handler. Strangers too: in a container we are process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (process := self._alive.pop(pid, None)) is not None:
                process.ended(os.waitstatus_to_exitcode(status))

    def _guard(self, process: Process) -> None:
        argv = ["/bin/sh", "-c", _GUARD, "tunegate-guard", str(process.pid)]
        guard = self.start(f"{process.name}-guard", argv, stdin=self.lifeline)
        process.exited.add_done_callback(lambda _: guard.signal(signal.SIGKILL))
