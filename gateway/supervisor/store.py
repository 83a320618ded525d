"""An embedded server: a Valkey on the data folder, owned by one gateway at a time.

Ownership is a lock (flock), `store.lock` or `cache.lock` in the folder. The server inherits the locked
descriptor, so the lock is free only when owner *and* server are gone: whoever gets it may start a server and
never meets the old one at the same files. Every other gateway on the folder uses the running server and goes
on asking for it. What sets the store's server and the cache's apart is in `recipes.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import stat
from pathlib import Path
from typing import Literal

from gateway.supervisor.backoff import Backoff
from gateway.supervisor.output import log
from gateway.supervisor.paths import server_binary
from gateway.supervisor.processes import Process, Processes
from gateway.supervisor.recipes import Recipe

ANSWERS_WITHIN_S = 30.0  # without a sign of life; reading a long ledger is one, however long it takes
STOP_WITHIN_S = 10.0  # a last fsync on a slow disk
ASK_FOR_LOCK_EVERY_S = 0.2
LOOK_EVERY_S = 0.01  # a start takes some 40 ms


class StoreFailed(Exception):
    """A server cannot be started or reached; the text says why and where to look."""


class EmbeddedServer:
    """Keeps a server of one data folder answering, by a process of ours or another gateway's."""

    def __init__(self, recipe: Recipe, processes: Processes) -> None:
        self._recipe = recipe
        self._name = recipe.name
        self._data_dir = recipe.data_dir
        self._processes = processes
        self._socket = recipe.socket
        self._lock: int | None = None  # held: we are the owner
        self._server: Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> asyncio.Task[None]:
        """Return when the server answers; then keep it so. The task returned never ends by itself.

        Raises `StoreFailed`.
        """
        await self._reach()
        self._keeping = asyncio.create_task(self._keep())
        return self._keeping

    def start_behind(self) -> None:
        """Start it behind the scenes and keep it: for a server that a gateway serves without, if it must."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._start_and_keep())

    async def stop(self, within_s: float = STOP_WITHIN_S) -> None:
        """Stop the server if it is ours (it writes everything out first), then let go of the folder."""
        if self._keeping is not None:
            self._keeping.cancel()
        if self._server is not None and not await self._server.stop(signal.SIGTERM, within_s):
            log(f"{self._name}_killed", "warning", after_s=within_s)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _start_and_keep(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._reach()
            except StoreFailed as error:
                delay_s = backoff.after(0)
                self._log_not_ready(error, delay_s)
                await asyncio.sleep(delay_s)
            else:
                await self._keep()

    async def _reach(self) -> None:
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            await self._join_or_start()
        except OSError as error:
            raise StoreFailed(f"the {self._name} cannot start in {self._data_dir}: {error}") from error

    async def _join_or_start(self) -> None:
        clock = asyncio.get_running_loop()
        deadline = clock.time() + ANSWERS_WITHIN_S
        while self._lock is None and not self._take_lock():
            state = await ping(self._socket)
            if state == "up":
                log(f"{self._name}_shared", data_dir=self._data_dir)
                return
            if state == "loading":
                deadline = clock.time() + ANSWERS_WITHIN_S
            if clock.time() > deadline:
                raise StoreFailed(f"{self._recipe.lock} is held, but nothing answers at {self._socket}")
            await asyncio.sleep(LOOK_EVERY_S)
        await self._start_server()

    async def _keep(self) -> None:
        backoff = Backoff()
        while True:
            if self._server is None:
                await self._inherit()
                delay_s = 0.0
            else:
                await asyncio.wait({self._server.exited})
                code, delay_s = self._server.exited.result(), backoff.after(self._server.alive_s)
                log("child_exited", "warning", child=self._name, code=code, restart_in_s=delay_s)
            await self._restore(delay_s, backoff)

    async def _inherit(self) -> None:
        while True:
            await asyncio.sleep(ASK_FOR_LOCK_EVERY_S)
            with contextlib.suppress(OSError):  # a folder that is away for a while, as a mount may be
                if self._take_lock():
                    log(f"{self._name}_taken_over", data_dir=self._data_dir)
                    return

    async def _restore(self, delay_s: float, backoff: Backoff) -> None:
        while True:
            await asyncio.sleep(delay_s)
            try:
                await self._start_server()
            except (StoreFailed, OSError) as error:
                delay_s = backoff.after(0)
                self._log_not_ready(error, delay_s)
            else:
                return

    def _log_not_ready(self, error: Exception, restart_in_s: float) -> None:
        log("child_not_ready", "error", child=self._name, reason=error, restart_in_s=restart_in_s)

    def _take_lock(self) -> bool:
        lock = os.open(self._recipe.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        except OSError:
            os.close(lock)
            raise
        self._lock = lock
        return True

    async def _start_server(self) -> None:
        """Only for the holder of the lock: a socket that is there now was left by a dead server."""
        _clear(Path(self._socket))
        lock = [] if self._lock is None else [self._lock]
        server = self._processes.start(
            self._name, self._argv(), pass_fds=lock, foreign=True, env=self._recipe.environment
        )
        self._server = server
        clock = asyncio.get_running_loop()
        deadline = clock.time() + ANSWERS_WITHIN_S
        while (state := await ping(self._socket)) != "up":
            if server.exited.done():
                raise StoreFailed(f"the server ended with {server.exited.result()}: {self._last_warning()}")
            if state == "loading":
                deadline = clock.time() + ANSWERS_WITHIN_S
            if clock.time() > deadline:
                await server.stop(signal.SIGKILL, 0)
                raise StoreFailed(f"the server did not answer: {self._last_warning()}")
            await asyncio.sleep(LOOK_EVERY_S)
        log("child_ready", child=self._name, pid=server.pid)

    def _argv(self) -> list[str]:
        argv = [str(server_binary())]
        for name, value in self._recipe.options.items():
            argv += [f"--{name}", value]
        return argv

    def _last_warning(self) -> str:
        path = self._recipe.log
        try:
            lines = path.read_bytes()[-16384:].decode("utf-8", "replace").splitlines()
        except OSError as error:
            return str(error)
        warnings = [line for line in lines if " # " in line]
        return f"{warnings[-1] if warnings else 'no reason given'} (see {path})"


async def ping(path: str) -> Literal["up", "loading", "away"]:
    """Ask the server at this unix socket how it is; "loading" = it still reads its files."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(b"PING\r\n")
                reply = await reader.readline()
            finally:
                writer.close()
    except OSError:
        return "away"
    if reply.startswith(b"+PONG"):
        return "up"
    return "loading" if reply.startswith(b"-LOADING") else "away"


def _clear(socket: Path) -> None:
    """Make room for the socket in a directory of ours, which stands where anyone might have made it."""
    directory = socket.parent
    directory.mkdir(mode=0o700, exist_ok=True)
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise StoreFailed(f"{directory} is not a directory of this user; remove it")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        directory.chmod(0o700)
    socket.unlink(missing_ok=True)
