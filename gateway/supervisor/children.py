"""Our own children: how a worker, the control process and the demo upstream are started and become ready."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.supervisor.output import say
from gateway.supervisor.processes import Process, Processes
from gateway.supervisor.spec import Spec
from gateway.supervisor.vitals import Pulse

READY_WITHIN_S = (
    30.0  # imports, first contact with the store and the first look at upstreams on a slow machine
)

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
PROVIDERS = Path(__file__).parents[1] / "providers" / "__main__.py"


class NotReady(Exception):
    """A child ended, or stayed silent, before it was ready. What it wrote to stderr tells why."""


class Child:
    """One process and the pipe by which it tells `note: ...` lines, once `ready`, and then `alive`."""

    def __init__(self, process: Process, pipe: int, on_note: Callable[[str], None]) -> None:
        self.process = process
        self.pulse = Pulse()
        self.end_is = "died"  # what its end is put down to
        self._pipe: int | None = pipe
        self._on_note = on_note
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        os.set_blocking(pipe, False)
        self._loop.add_reader(pipe, self._read, pipe)
        # What it wrote before its end is readable before the end is known, so nothing is lost by this.
        process.exited.add_done_callback(lambda _: self._close())

    @property
    def is_ready(self) -> bool:
        """Whether it has said so."""
        return self._ready.done()

    async def ready(self, within_s: float = READY_WITHIN_S) -> None:
        """Wait until it serves. Raises `NotReady`, after which the process is gone."""
        exited = self.process.exited
        either: set[asyncio.Future[Any]] = {self._ready, exited}
        await asyncio.wait(either, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if self._ready.done():
            return
        if exited.done():
            how = exited.result()
            raise NotReady(f"{self.process.name} ended before it was ready (exit code {how})")
        await self.process.stop(signal.SIGKILL, 0)
        raise NotReady(f"{self.process.name} was not ready after {within_s:g} s")

    def _read(self, pipe: int) -> None:
        chunk = os.read(pipe, 65536)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line == b"alive":
                self.pulse.beat()
            elif line.startswith(b"note: "):
                self._on_note(line[6:].decode("utf-8", "replace"))
            elif line == b"ready" and not self._ready.done():
                self._ready.set_result(None)
        if not chunk:  # nothing more will come; its exit or the deadline decide
            self._close()

    def _close(self) -> None:
        if self._pipe is not None:
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = None


class Launcher:
    """Starts children as `python -m <module>` with the arguments that `gateway.process` reads.

    `because` is why one is started: "start", or why it takes the place of another.
    """

    def __init__(self, spec: Spec, processes: Processes) -> None:
        self._spec = spec
        self._processes = processes

    def demo(self, because: str) -> Child:
        """The demo upstream, on a unix socket in the runtime directory."""
        return self._start("demo", "demo", because, "--socket", str(self._spec.runtime_dir / "demo.sock"))

    def providers(self, because: str) -> Child:
        """The provider process, by an interpreter of its own; what is secret of the gateway stays here.

        So do names of proxies, which litellm would obey.
        """
        program = (str(self._spec.providers), "-I", str(PROVIDERS))
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TUNEGATE_") and name.lower() not in PROXY_VARIABLES
        }
        path = str(self._spec.runtime_dir / "providers.sock")
        return self._start_program(program, "providers", because, "--socket", path, env=env)

    def control(self, listener: socket.socket, because: str) -> Child:
        """The control process."""
        return self._start("control", "control", because, *self._config(), listener=listener)

    def worker(self, listener: socket.socket, index: int, because: str) -> Child:
        """One data-plane worker."""
        config = (*self._config(), "--index", str(index))
        return self._start("worker", f"worker-{index}", because, *config, listener=listener)

    def _config(self) -> tuple[str, str]:
        return "--config-path", str(self._spec.config_path)

    def _start(
        self, kind: str, name: str, because: str, *arguments: str, listener: socket.socket | None = None
    ) -> Child:
        program = (sys.executable, "-m", self._spec.modules[kind])
        return self._start_program(program, name, because, *arguments, listener=listener)

    def _start_program(
        self,
        program: Sequence[str],
        name: str,
        because: str,
        *arguments: str,
        listener: socket.socket | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Child:
        lifeline = self._processes.lifeline
        ours, theirs = os.pipe()
        fds = [theirs, lifeline]
        argv = [*program, "--runtime", str(self._spec.runtime_dir)]
        argv += ["--ready-fd", str(theirs), "--lifeline-fd", str(lifeline), "--because", because]
        if listener is not None:
            fds.append(listener.fileno())
            argv += ["--listen-fd", str(listener.fileno())]
        try:
            process = self._processes.start(name, [*argv, *arguments], pass_fds=fds, env=env)
        except (OSError, subprocess.SubprocessError) as error:
            os.close(ours)
            raise NotReady(f"{name} could not be started: {error}") from error
        finally:
            os.close(theirs)
        return Child(process, ours, say)
