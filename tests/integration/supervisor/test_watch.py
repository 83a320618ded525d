"""Children that live and do nothing, or take too much: ended and replaced, or replaced in good order."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import pytest

from tests.integration.supervisor.gateway_run import GatewayRun, greeting
from tests.support.polling import until

Run = Callable[..., GatewayRun]
SILENT_S = 2.5
NOTICED_WITHIN_S = 15

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="ceilings are read from /proc, of Linux")


@pytest.mark.parametrize("name", ["worker-1", "control"])
async def test_a_frozen_process_is_ended_and_another_takes_its_place(run_gateway: Run, name: str) -> None:
    gateway = await run_gateway(workers=2, unresponsive_s=SILENT_S).ready()
    others = {each: gateway.pid(each) for each in ("worker-0", "worker-1", "control") if each != name}
    frozen = gateway.pid(name)
    os.kill(frozen, signal.SIGSTOP)
    await until(lambda: gateway.pid(name) != frozen, "another one", within_s=NOTICED_WITHIN_S)
    (noticed,) = gateway.logged("child_unresponsive")
    assert (noticed["child"], noticed["pid"]) == (name, frozen)
    assert noticed["silent_s"] > SILENT_S
    (ended,) = gateway.logged("child_exited")
    assert (ended["code"], ended["because"]) == (-signal.SIGKILL, "unresponsive")
    assert (name, gateway.pid(name), "because:unresponsive") in gateway.events()
    assert {each: gateway.pid(each) for each in others} == others  # who beats is left alone


async def test_a_frozen_worker_that_retires_is_not_waited_for(run_gateway: Run) -> None:
    behaviour: dict[str, dict[str, object]] = {"worker-0": {"finishes_streams": True}}
    gateway = await run_gateway(behaviour=behaviour, drain_s=300, unresponsive_s=SILENT_S).ready()
    old = gateway.pid("worker-0")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.data_port)
    await reader.readline()
    gateway.signal(signal.SIGUSR1)
    await until(lambda: ("worker-0", old, "SIGUSR2") in gateway.events())
    new = gateway.pid("worker-0")
    os.kill(old, signal.SIGSTOP)
    async with asyncio.timeout(NOTICED_WITHIN_S):
        assert await reader.read() == b""
    writer.close()
    assert gateway.pid("worker-0") == new
    assert gateway.logged("child_exited") == []


async def test_when_all_was_suspended_nobody_was_silent(run_gateway: Run) -> None:
    gateway = await run_gateway(workers=2, unresponsive_s=SILENT_S).ready()
    pids = [int(line.split()[0]) for line in gateway.alive()]
    for pid in (gateway.process.pid, *pids):
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(SILENT_S + 1)
    # The supervisor first, and some time before the others: it finds no beat where it looks.
    os.kill(gateway.process.pid, signal.SIGCONT)
    await asyncio.sleep(0.2)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(1.5)
    assert gateway.logged("child_unresponsive") == []
    assert sorted(pids) == sorted(int(line.split()[0]) for line in gateway.alive())


@needs_proc
@pytest.mark.parametrize(
    ("behaviour", "ceiling", "reason"),
    [
        ({"hog": 200 << 20}, {"memory_bytes": 150 << 20}, "memory"),
        ({"hoarder": 300}, {"open_files": 200}, "open_files"),
    ],
)
async def test_who_takes_too_much_makes_way_and_finishes_its_streams(
    run_gateway: Run, behaviour: dict[str, object], ceiling: dict[str, int], reason: str
) -> None:
    gateway = await run_gateway(
        behaviour={"worker-0": {"finishes_streams": True} | behaviour}, drain_s=300, **ceiling
    ).ready()
    old = gateway.pid("worker-0")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.data_port)
    await reader.readline()
    await until(lambda: gateway.pid("worker-0") != old, "another one", within_s=NOTICED_WITHIN_S)
    new = gateway.pid("worker-0")
    (over,) = gateway.logged("worker_over_ceiling")
    assert (over["child"], over["pid"], over["because"]) == ("worker-0", old, reason)
    assert over["takes"] > over["ceiling"] == next(iter(ceiling.values()))
    assert over["next_after_s"] == 60
    assert ("worker-0", new, f"because:{reason}") in gateway.events()
    await until(lambda: ("worker-0", old, "SIGUSR2") in gateway.events())
    events = gateway.events("worker-0")
    assert events.index(("worker-0", new, "ready")) < events.index(("worker-0", old, "SIGUSR2"))

    assert await greeting(gateway.data_port) == ("worker-0", new)
    writer.write_eof()
    assert await reader.readline() == b"bye\n"
    writer.close()
    assert gateway.logged("child_exited") == []


async def test_a_worker_that_dies_while_the_one_before_it_retires_is_replaced(run_gateway: Run) -> None:
    behaviour: dict[str, dict[str, object]] = {"worker-0": {"finishes_streams": True}}
    gateway = await run_gateway(behaviour=behaviour, drain_s=300).ready()
    old = gateway.pid("worker-0")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.data_port)
    await reader.readline()
    gateway.signal(signal.SIGUSR1)
    await until(lambda: ("worker-0", old, "SIGUSR2") in gateway.events())
    second = gateway.pid("worker-0")
    os.kill(second, signal.SIGKILL)
    third = await gateway.next_pid("worker-0", second)
    assert await greeting(gateway.data_port) == ("worker-0", third)
    writer.write_eof()
    assert await reader.readline() == b"bye\n"
    writer.close()
