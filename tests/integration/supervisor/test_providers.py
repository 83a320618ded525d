"""The provider process: another interpreter, none of our secrets, and a gateway that serves without it."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.supervisor.gateway_run import CHILD, GatewayRun, greeting
from tests.support.polling import until

Gateway = Callable[..., GatewayRun]


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """Runs the tiny child in place of the file it is given, and keeps what it was given."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nenv > {tmp_path}/env\necho "$@" > {tmp_path}/argv\nshift 2\n')
    with path.open("a") as script:
        script.write(f'exec {sys.executable} -m {CHILD} "$@"\n')
    path.chmod(0o700)
    return path


async def test_it_runs_by_its_interpreter_and_gets_no_secret_of_the_gateway(
    run_gateway: Gateway, interpreter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEGATE_SECRET", "not for strangers")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("A_PROVIDERS_KEY", "its own")
    run = await run_gateway(providers=interpreter).ready()
    given = (tmp_path / "argv").read_text().split()
    assert given[0] == "-I"
    assert given[1].endswith("/gateway/providers/__main__.py")
    assert given[given.index("--socket") + 1] == str(run.runtime / "providers.sock")
    environment = (tmp_path / "env").read_text()
    assert "TUNEGATE_" not in environment
    assert "_proxy" not in environment.lower()
    assert "A_PROVIDERS_KEY=its own" in environment
    assert "A_PROVIDERS_KEY" not in " ".join(given)


async def test_none_is_started_where_no_upstream_needs_it(run_gateway: Gateway) -> None:
    run = await run_gateway().ready()
    assert run.events("providers") == []


async def test_it_comes_back_and_nobody_else_notices(run_gateway: Gateway, interpreter: Path) -> None:
    run = await run_gateway(providers=interpreter).ready()
    before = run.pid("providers")
    served_by = await greeting(run.data_port)
    os.kill(before, signal.SIGKILL)
    await run.next_pid("providers", before)
    assert await greeting(run.data_port) == served_by
    assert [who for who, _, what in run.events() if what == "ready"].count("providers") == 2


async def test_the_gateway_serves_though_it_does_not_start(run_gateway: Gateway, interpreter: Path) -> None:
    run = await run_gateway(providers=interpreter, behaviour={"providers": {"exits": 3}}).ready()
    assert (await greeting(run.data_port))[0] == "worker-0"
    await until(lambda: len(run.logged("child_not_ready", child="providers")) > 1, "another try")
    run.behave({})
    await until(lambda: run.logged("child_ready", child="providers"), "its start")
    first = run.pid("providers")
    os.kill(first, signal.SIGKILL)  # from here on it is kept like any other
    await run.next_pid("providers", first)
    run.signal(signal.SIGTERM)
    assert await run.ended() == 0
    await run.nothing_left()


async def test_an_interpreter_that_is_gone_is_no_reason_to_stop(run_gateway: Gateway, tmp_path: Path) -> None:
    run = await run_gateway(providers=tmp_path / "gone").ready()
    [first, *_] = run.logged("child_not_ready", child="providers")
    assert "could not be started" in first["reason"]


async def test_none_outlives_the_supervisor(run_gateway: Gateway, interpreter: Path) -> None:
    run = await run_gateway(providers=interpreter).ready()
    run.signal(signal.SIGKILL)
    await run.ended()
    await run.nothing_left()
