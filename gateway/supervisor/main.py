"""A gateway's life: start in order, serve, stop in the reverse order. `Supervisor.run` is the whole of it."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gateway.supervisor.children import Launcher, NotReady
from gateway.supervisor.keeper import Keeper
from gateway.supervisor.output import log, say
from gateway.supervisor.processes import Processes
from gateway.supervisor.recipes import cache_recipe, store_recipe
from gateway.supervisor.signals import SIGNALS, hold_back
from gateway.supervisor.sockets import CannotListen, listen, url
from gateway.supervisor.spec import Spec, read_spec
from gateway.supervisor.store import EmbeddedServer, StoreFailed
from gateway.supervisor.watch import Watch

SETTLE_S = 5.0  # beyond the bounds of the drain: last settlements and metrics, closing
MANY_FILES = 1 << 20
INSISTED_S = 1.0  # what a second signal leaves the store for its last write


class Supervisor:
    """One gateway, on two sockets that are bound already.

    SIGTERM: the workers drain (they accept for the grace, then finish their streams), then the rest ends.
    SIGINT: the same without the grace. A second one of these: all is killed, the store asked before.
    SIGHUP: the control process loads the configuration anew.
    SIGUSR1: the workers are replaced one by one, the new one ready before the old one stops accepting.
    SIGUSR2: the embedded server of the response cache is started, where it can be and does not run yet; the
    control process asks so once an alias wants it.
    """

    def __init__(self, spec: Spec, data: socket.socket, admin: socket.socket) -> None:
        self._data = data
        self._admin = admin
        self._urls = f"data={url(data)} admin={url(admin)}"
        self._processes = Processes()
        launcher = Launcher(spec, self._processes)
        self._store: EmbeddedServer | None = None
        if spec.store.embedded:
            recipe = store_recipe(spec.store.data_dir, spec.store.durability)
            self._store = EmbeddedServer(recipe, self._processes)
        self._cache: EmbeddedServer | None = None
        self._cache_is_wanted = False
        if spec.cache is not None:
            recipe = cache_recipe(spec.store.data_dir, spec.cache.memory_bytes)
            self._cache = EmbeddedServer(recipe, self._processes)
            self._cache_is_wanted = spec.cache.is_wanted
        self._control = Keeper("control", partial(launcher.control, admin))
        self._others = [Keeper("demo", launcher.demo)] if spec.demo else []
        if spec.providers is not None:
            self._others.append(Keeper("providers", launcher.providers, optional=True))
        self._others.append(self._control)
        drain_s = spec.drain_timeout_s + SETTLE_S
        self._workers = [
            Keeper(f"worker-{index}", partial(launcher.worker, data, index), retire_within_s=drain_s)
            for index in range(spec.workers)
        ]
        self._watch = Watch(self._workers, self._others, spec.health)
        self._drain_within_s = {signal.SIGTERM: spec.drain_grace_s + drain_s, signal.SIGINT: drain_s}
        self._stop_asked: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        self._stop_insisted = asyncio.Event()
        self._replacement_asked = asyncio.Event()

    async def run(self) -> int:
        """Serve until a signal ends it. Returns the exit code: 1 after a failed start or a forced end."""
        self._take_signals()
        code = 0
        serving = asyncio.create_task(self._serve())
        either: set[asyncio.Future[Any]] = {serving, self._stop_asked}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._stop_asked.done():
            how = self._stop_asked.result()
            log("stopping", signal=how.name)
            serving.cancel()
            await asyncio.wait({serving})
        else:
            how, code = signal.SIGINT, 1
            log("failed", "error", reason=_reason(serving.exception()))
        stopping = asyncio.create_task(self._stop(how))
        insisted = asyncio.create_task(self._stop_insisted.wait())
        await asyncio.wait({stopping, insisted}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            code = 1
            await self._kill()
        log("stopped", code=code)
        return code

    async def _serve(self) -> None:
        keeping: list[asyncio.Task[None]] = []
        if self._store is not None:
            keeping.append(await self._store.start())
        if self._cache_is_wanted:
            self._start_cache()
        # All at once, since each spends most of its start on imports. A worker waits for the control
        # process by itself, so that the newest aliases serve from the first call.
        keeping += await _started([*self._others, *self._workers])
        say(f"ready {self._urls}")
        ours = [asyncio.create_task(self._replace_when_asked()), asyncio.create_task(self._watch.run())]
        try:
            done, _ = await asyncio.wait({*keeping, *ours}, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()  # none of them returns: this raises what broke it
        finally:
            for task in ours:
                task.cancel()

    async def _replace_when_asked(self) -> None:
        while True:
            await self._replacement_asked.wait()
            self._replacement_asked.clear()
            try:
                for worker in self._workers:
                    await worker.replace("asked")
                log("workers_replaced")
            except NotReady as error:
                log("replacement_failed", "error", reason=error)

    async def _stop(self, how: signal.Signals) -> None:
        await asyncio.gather(*(worker.stop(how, self._drain_within_s[how]) for worker in self._workers))
        self._data.close()  # nobody accepts any more: refuse rather than queue
        await asyncio.gather(*(other.stop(signal.SIGTERM, SETTLE_S) for other in self._others))
        self._admin.close()
        for server in self._servers():
            await server.stop()

    async def _kill(self) -> None:
        everyone = [*self._workers, *self._others]
        await asyncio.gather(*(keeper.stop(signal.SIGKILL, INSISTED_S) for keeper in everyone))
        for server in self._servers():
            await server.stop(INSISTED_S)

    def _servers(self) -> list[EmbeddedServer]:
        return [server for server in (self._cache, self._store) if server is not None]

    def _start_cache(self) -> None:
        if self._cache is not None and not self._stop_asked.done():
            self._cache.start_behind()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._processes.reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._control.signal, signal.SIGHUP)
        loop.add_signal_handler(signal.SIGUSR1, self._replacement_asked.set)
        loop.add_signal_handler(signal.SIGUSR2, self._start_cache)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _asked_to_stop(self, number: signal.Signals) -> None:
        if self._stop_asked.done():
            self._stop_insisted.set()
        else:
            self._stop_asked.set_result(number)


async def _started(keepers: Sequence[Keeper]) -> list[asyncio.Task[None]]:
    """Start them side by side; when one fails, the others' starts end too and it raises."""
    async with asyncio.TaskGroup() as group:
        starts = [group.create_task(keeper.start()) for keeper in keepers]
    return [start.result() for start in starts]


def _reason(error: BaseException | None) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_reason(part) for part in error.exceptions)
    return str(error) if isinstance(error, NotReady | StoreFailed) else repr(error)


def _allow_many_connections() -> None:
    """Raise the soft bound on open files, for us and all children.

    Each stream takes two of them, and 1024 is a common default.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(MANY_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS names a hard bound that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _remove_runtime(spec_path: Path, runtime: Path) -> None:
    """Remove what a run leaves in its directory, and nothing that is not known to be such."""
    for path in (spec_path, runtime / "active.yaml", *runtime.glob("*.sock")):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty: something is there that somebody may want
        runtime.rmdir()


def main(spec_path: Path) -> int:
    """Run the gateway that the file describes until it is told to stop; returns the exit code."""
    spec = read_spec(spec_path)
    _allow_many_connections()

    async def run() -> int:
        return await Supervisor(spec, data, admin).run()

    try:
        with listen(spec.admin, "admin") as admin, listen(spec.data, "server") as data:
            return asyncio.run(run())
    except CannotListen as error:
        log("failed", "error", reason=error)
        return 1
    finally:
        hold_back()  # a late signal must not change the exit code
        _remove_runtime(spec_path, spec.runtime_dir)
