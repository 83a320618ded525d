"""The control process as its supervisor starts it."""

import asyncio
import json
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
import pytest

from gateway.control import plane
from tests.integration.control.running import FakeWorker
from tests.support.polling import until
from tests.support.valkey import ValkeyServer

FILE = """
upstreams: {{a: {{base_url: "http://127.0.0.1:9/v1", api_keys: [{key}]}}}}
store: {{url: "{url}"}}
reload: {{watch: false}}
"""


class Process:
    """A started control process; what it told its supervisor is in `told`."""

    def __init__(
        self, process: asyncio.subprocess.Process, port: int, told: list[str], lifeline: BinaryIO
    ) -> None:
        self.process = process
        self.port = port
        self.told = told
        self.lifeline = lifeline

    async def get(self, path: str, admin_key: str) -> Any:
        async with httpx2.AsyncClient(trust_env=False, verify=False) as client:
            headers = {"authorization": f"Bearer {admin_key}"}
            answer = await client.get(f"http://127.0.0.1:{self.port}/admin/v1{path}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ends(self) -> int:
        return await asyncio.wait_for(self.process.wait(), 10)

    async def log(self) -> list[dict[str, Any]]:
        """Every line of its log, once it has ended."""
        assert self.process.stderr is not None
        return [json.loads(line) for line in (await self.process.stderr.read()).splitlines()]


@pytest.fixture
def runtime(tmp_path: Path, valkey: ValkeyServer) -> Path:
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    text = FILE.format(key="one", url=valkey.url)
    (tmp_path / "gateway.yaml").write_text(text)
    (runtime / "active.yaml").write_text(text)
    (runtime / "spec.json").write_text("{}")
    return runtime


def until_ready(pipe: BinaryIO) -> list[str]:
    """What comes before the heartbeats."""
    told = []
    for line in pipe:
        told.append(line.decode().rstrip("\n"))
        if told[-1] == "ready":
            break
    return told


@asynccontextmanager
async def started(runtime: Path, **env: str) -> AsyncIterator[Process]:
    listener = socket.create_server(("127.0.0.1", 0))
    ready, ready_end = os.pipe()
    lifeline_end, lifeline = os.pipe()
    tie = os.fdopen(lifeline, "wb")
    inherited = (listener.fileno(), ready_end, lifeline_end)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.control", "--runtime", str(runtime), "--ready-fd", str(ready_end)),
        *("--lifeline-fd", str(lifeline_end), "--listen-fd", str(listener.fileno())),
        *("--config-path", str(runtime.parent / "gateway.yaml")),
        pass_fds=inherited,
        env={name: value for name, value in os.environ.items() if not name.startswith("TUNEGATE_")} | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(ready_end)
    os.close(lifeline_end)
    try:
        with os.fdopen(ready, "rb") as pipe:
            told = await asyncio.to_thread(_until_ready, pipe)
        yield Process(process, listener.getsockname()[1], told, tie)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        listener.close()
        tie.close()


def _until_ready(pipe: BinaryIO) -> list[str]:
    """What a child tells until it serves; what follows are the beats of its heart."""
    told: list[str] = []
    while told[-1:] != ["ready"] and (line := pipe.readline()):
        told.append(line.decode().rstrip())
    return told


async def test_a_life(runtime: Path) -> None:
    async with started(runtime) as control:
        note, ready = control.told
        assert ready == "ready"
        key = note.removeprefix("note: admin key: ")
        assert stat.S_IMODE((runtime / "control.sock").stat().st_mode) == 0o600

        async def api_keys() -> list[str]:
            config = (await control.get("/config", key))["config"]
            return list(config["upstreams"]["a"]["api_keys"])

        assert await api_keys() == ["***"]
        file = runtime.parent / "gateway.yaml"
        file.write_text(file.read_text().replace("[one]", "[two, three]"))
        control.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 5
        while await api_keys() != ["***", "***"]:
            assert time.monotonic() < deadline
        file.write_text("nonsense: 1")
        control.process.send_signal(signal.SIGHUP)
        await control.get("/keys", key)
        control.process.send_signal(signal.SIGTERM)
        assert await control.ends() == 0
        lines = {line["event"]: line for line in await control.log()}
        assert lines["configuration reloaded"]["changed"] == ["upstreams.a.api_keys"]
        assert "nonsense" in str(lines["the new configuration is refused, the old one serves on"]["problems"])
        assert not (runtime / "control.sock").exists()
    async with started(runtime) as second:  # a restart by the supervisor: the key is made once
        assert second.told == ["ready"]
        await second.get("/keys", key)
        second.process.send_signal(signal.SIGINT)
        assert await second.ends() == 0


async def test_the_operators_key_is_never_told(runtime: Path) -> None:
    async with started(runtime, TUNEGATE_ADMIN_KEY="mine") as control:
        assert control.told == ["ready"]
        await control.get("/keys", "mine")
        control.lifeline.close()  # the supervisor dies
        assert await control.ends() == 1


async def test_replicas_agree_on_one_admin_key(start_control: Callable[..., Any]) -> None:
    first, second = await start_control(env={}), await start_control(env={}, runtime="second")
    assert first.admin_key_made is not None
    assert second.admin_key_made is None
    second.http.headers["authorization"] = f"Bearer {first.admin_key_made}"
    made = await first.call("POST", "/keys", {"name": "x"})
    assert (await second.call("GET", f"/keys/{made['id']}"))["name"] == "x"


async def test_a_store_that_comes_late_is_joined(
    start_control: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plane, "STORE_WAIT_S", 0.1)
    own = ValkeyServer()
    text = f'store: {{url: "{own.url}"}}\naliases: {{x: {{model: m}}}}'
    control = await start_control(text, env={}, bare=True)
    assert control.admin_key_made is None
    assert (await control.http.get("/healthz")).status_code == 200
    await control.call("GET", "/config", expect=503)
    with own:
        await until(lambda: control.plane.keeper.current, "the store", within_s=10)
        key = capsys.readouterr().out.partition("admin key: ")[2].split()[0]
        control.http.headers["authorization"] = f"Bearer {key}"
        assert (await control.call("GET", "/aliases/x"))["model"] == "m"
        async with FakeWorker(control) as worker:
            assert "x" in worker.state["aliases"]
