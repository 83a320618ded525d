"""A whole gateway of tiny children under the real supervisor, watched from outside."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gateway.process import die_with_parent
from gateway.supervisor.paths import embedded_cache_socket, embedded_socket
from tests.support.polling import until

ROOT = Path(__file__).parents[3]
CHILD = "tests.integration.supervisor.child"


class GatewayRun:
    """One supervisor. `behaviour` tells children, by name, what to do (see `child.py`)."""

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        workers: int = 1,
        demo: bool = False,
        port: int = 0,
        grace_s: float = 0,
        drain_s: float = 5,
        cache: dict[str, object] | None = None,
        embedded: bool = True,
        behaviour: dict[str, dict[str, object]] | None = None,
        unresponsive_s: float | None = None,
        memory_bytes: int | None = None,
        open_files: int | None = None,
        providers: Path | None = None,
    ) -> None:
        self.runtime = Path(tempfile.mkdtemp(prefix="tunegate-test-"))
        self.data_dir = data_dir
        self.behave(behaviour or {})
        spec = {
            "config_path": str(self.runtime / "gateway.yaml"),
            "runtime_dir": str(self.runtime),
            "data": {"host": "127.0.0.1", "port": port},
            "admin": {"host": "127.0.0.1", "port": 0},
            "workers": workers,
            "store": {
                "embedded": embedded and data_dir is not None,
                "data_dir": str(data_dir),
                "durability": "always",
            },
            "cache": cache,
            "demo": demo,
            "providers": providers and str(providers),
            "drain_grace_s": grace_s,
            "drain_timeout_s": drain_s,
            "health": {
                "unresponsive_s": unresponsive_s,
                "memory_bytes": memory_bytes,
                "open_files": open_files,
            },
            "modules": dict.fromkeys(("demo", "control", "worker"), CHILD),
        }
        (self.runtime / "spec.json").write_text(json.dumps(spec))
        with (self.runtime / "stdout").open("wb") as out, (self.runtime / "stderr").open("wb") as err:
            self.process = subprocess.Popen(  # noqa: S603  # our own arguments
                [sys.executable, "-m", "gateway.supervisor", self.runtime / "spec.json"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # so that everything it ever started can be found
                preexec_fn=die_with_parent,  # noqa: PLW1509  # a killed test run leaves no gateway behind
            )

    async def ready(self) -> "GatewayRun":
        await until(lambda: self._ready_line() or self.process.poll() is not None, "ready", within_s=15)
        assert self._ready_line(), self.stderr()
        return self

    @property
    def data_port(self) -> int:
        return self._port("data")

    @property
    def admin_port(self) -> int:
        return self._port("admin")

    def stdout(self) -> list[str]:
        return (self.runtime / "stdout").read_text().splitlines()

    def stderr(self) -> str:
        return (self.runtime / "stderr").read_text()

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stderr().splitlines() if line.startswith("{")]

    def logged(self, event: str, **facts: object) -> list[dict[str, Any]]:
        return [e for e in self.log() if e["event"] == event and facts.items() <= e.items()]

    def events(self, name: str | None = None) -> list[tuple[str, int, str]]:
        """What children noted: (name, pid, event), oldest first."""
        path = self.runtime / "events"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(who, int(pid), what) for who, pid, what in lines if name in (None, who)]

    def pid(self, name: str) -> int:
        """The latest process of that name that became ready."""
        pid: int = self.logged("child_ready", child=name)[-1]["pid"]
        return pid

    async def next_pid(self, name: str, after: int) -> int:
        await until(lambda: self.pid(name) != after, f"another {name}")
        return self.pid(name)

    def behave(self, behaviour: dict[str, dict[str, object]]) -> None:
        new = self.runtime / "behaviour.new"
        new.write_text(json.dumps(behaviour))
        new.rename(self.runtime / "behaviour.json")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self, within_s: float = 10) -> int:
        await until(lambda: self.process.poll() is not None, "the end", within_s=within_s)
        code: int = self.process.returncode
        return code

    def alive(self) -> list[str]:
        """The command lines of all processes of its session; zombies are none."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # gone meanwhile
                    state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                    if int(session) == self.process.pid and state not in "ZX":
                        found.append(f"{entry.name} {(entry / 'cmdline').read_text()}")
        return found

    async def nothing_left(self, within_s: float = 2) -> None:
        try:
            await until(lambda: not self.alive(), "the end of all processes", within_s=within_s)
        except AssertionError as error:
            raise AssertionError(self.alive()) from error

    def cleanup(self) -> None:
        for line in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)
        self.process.wait(5)
        shutil.rmtree(self.runtime)

    def _ready_line(self) -> str:
        return next((line for line in self.stdout() if line.startswith("ready ")), "")

    def _port(self, plane: str) -> int:
        for word in self._ready_line().split():
            if word.startswith(f"{plane}="):
                return int(word.rpartition(":")[2])
        raise AssertionError(self.stdout())


async def greeting(port: int) -> tuple[str, int]:
    """Connect and hear who serves: (name, pid)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(5):
        name, pid = (await reader.readline()).split()
    writer.close()
    return name.decode(), int(pid)


def store_command(data_dir: Path, *words: str) -> bytes:
    """One command to the embedded store; b"" where it is away. Replies here are short ones."""
    return _command(embedded_socket(data_dir), words)


def cache_command(data_dir: Path, *words: str) -> bytes:
    """One command to the embedded server of the cache, likewise."""
    return _command(embedded_cache_socket(data_dir), words)


def _command(path: str, words: tuple[str, ...]) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        try:
            sock.connect(path)
            sock.sendall(" ".join(words).encode() + b"\r\n")
            return sock.recv(65536)
        except OSError:
            return b""
