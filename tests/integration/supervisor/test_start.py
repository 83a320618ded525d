"""From nothing to the ready line, and every way out before it."""

import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.supervisor.gateway_run import GatewayRun, greeting
from tests.support.polling import until

Run = Callable[..., GatewayRun]


def test_the_store_is_ready_before_anyone_starts(standing: GatewayRun) -> None:
    assert standing.logged("child_ready")[0]["child"] == "store"


def test_notes_come_before_the_ready_line_which_tells_the_real_ports(standing: GatewayRun) -> None:
    assert standing.stdout() == [
        "admin key: secret",
        "second",
        f"ready data=http://127.0.0.1:{standing.data_port} admin=http://127.0.0.1:{standing.admin_port}",
    ]


async def test_each_plane_answers_at_its_own_port(standing: GatewayRun) -> None:
    assert (await greeting(standing.data_port))[0].startswith("worker-")
    assert await greeting(standing.admin_port) == ("control", standing.pid("control"))


@pytest.mark.parametrize("name", ["store", "demo", "control", "worker-1"])
def test_children_stay_in_the_session_but_out_of_reach_of_ctrl_c(standing: GatewayRun, name: str) -> None:
    pid = standing.pid(name)
    assert (os.getsid(pid), os.getpgid(pid)) == (standing.process.pid, pid)


def test_children_may_open_as_many_files_as_the_system_allows(standing: GatewayRun) -> None:
    soft, hard = resource.prlimit(standing.pid("worker-0"), resource.RLIMIT_NOFILE)
    assert soft == hard or soft >= 1 << 20


async def test_a_gateway_without_an_embedded_store_starts_none(run_gateway: Run) -> None:
    gateway = await run_gateway().ready()
    assert len(gateway.alive()) == 3


async def test_a_taken_port_is_named_and_ends_the_start(run_gateway: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        gateway = run_gateway(port=port)
        assert await gateway.ended() == 1
    assert f"cannot listen on 127.0.0.1:{port} (server): Address already in use" in gateway.stderr()
    assert gateway.events() == []


@pytest.mark.parametrize("name", ["demo", "control", "worker-1"])
async def test_a_child_that_cannot_start_ends_the_start(run_gateway: Run, data_dir: Path, name: str) -> None:
    gateway = run_gateway(data_dir, workers=2, demo=True, behaviour={name: {"exits": 7}})
    assert await gateway.ended() == 1
    assert f"{name} has its reasons" in gateway.stderr()
    assert gateway.logged("failed")[0]["reason"] == f"{name} ended before it was ready (exit code 7)"
    assert gateway.stdout() == []
    await gateway.nothing_left(within_s=0.5)


MOMENTS = {
    "at once": lambda _: True,
    "when the store starts": lambda gateway: len(gateway.alive()) > 1,
    "when control starts": lambda gateway: gateway.events("control"),
    "when a worker starts": lambda gateway: gateway.events("worker-0"),
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_sigterm_during_the_start_ends_it_cleanly(
    run_gateway: Run, data_dir: Path, moment: str
) -> None:
    gateway = run_gateway(data_dir, behaviour={"worker-0": {"hangs": True}})
    if moment == "at once":  # Python itself takes some milliseconds until our first line
        await until(lambda: _holds_signals_back(gateway.process.pid))
    await until(lambda: MOMENTS[moment](gateway))
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() == 0
    assert gateway.stdout() == []
    await gateway.nothing_left(within_s=0.5)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_kill_during_the_start_leaves_nothing(run_gateway: Run, data_dir: Path, moment: str) -> None:
    gateway = run_gateway(data_dir, behaviour={"worker-0": {"hangs": True}})
    await until(lambda: MOMENTS[moment](gateway))
    gateway.signal(signal.SIGKILL)
    await gateway.ended()
    await gateway.nothing_left()


def _holds_signals_back(pid: int) -> bool:
    blocked = Path(f"/proc/{pid}/status").read_text().partition("SigBlk:")[2].split()[0]
    return bool(int(blocked, 16) >> (signal.SIGTERM - 1) & 1)
