"""What dies comes back, and nobody outside is refused meanwhile."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.integration.supervisor.gateway_run import GatewayRun, greeting
from tests.support.polling import until

Run = Callable[..., GatewayRun]


async def test_a_killed_process_is_replaced_and_the_others_stay(run_gateway: Run, data_dir: Path) -> None:
    gateway = await run_gateway(data_dir, demo=True).ready()
    names = ("worker-0", "control", "demo", "store")
    for name in names:
        before = {each: gateway.pid(each) for each in names}
        os.kill(before[name], signal.SIGKILL)
        new = await gateway.next_pid(name, before[name])
        assert {each: gateway.pid(each) for each in names} == {**before, name: new}
    for event, name in zip(gateway.logged("child_exited"), names, strict=True):
        assert (event["child"], event["code"], event["restart_in_s"]) == (name, -signal.SIGKILL, 0.1)
    assert len(gateway.alive()) == 5


async def test_connections_made_while_no_worker_lives_are_served_by_the_next(run_gateway: Run) -> None:
    gateway = await run_gateway().ready()
    old = gateway.pid("worker-0")
    os.kill(old, signal.SIGKILL)
    await until(lambda: gateway.logged("child_exited"))
    served = await asyncio.gather(*(greeting(gateway.data_port) for _ in range(50)))
    assert set(served) == {("worker-0", gateway.pid("worker-0"))}
    assert gateway.pid("worker-0") != old


async def test_a_child_that_leaves_by_itself_is_restarted_too(run_gateway: Run) -> None:
    gateway = await run_gateway().ready()
    old = gateway.pid("worker-0")
    os.kill(old, signal.SIGTERM)  # not by way of the supervisor
    await gateway.next_pid("worker-0", old)
    assert gateway.logged("child_exited", child="worker-0", code=0)


async def test_a_child_that_fails_again_and_again_is_tried_ever_more_rarely(run_gateway: Run) -> None:
    gateway = await run_gateway().ready()
    gateway.behave({"worker-0": {"exits": 3}})
    old = gateway.pid("worker-0")
    os.kill(old, signal.SIGKILL)
    await until(lambda: len(gateway.logged("child_not_ready", child="worker-0")) == 2)
    assert [e["restart_in_s"] for e in gateway.logged("child_not_ready")] == [0.2, 0.4]
    gateway.behave({})
    await gateway.next_pid("worker-0", old)


async def test_sighup_reaches_control_also_when_it_is_down(run_gateway: Run) -> None:
    gateway = await run_gateway().ready()
    first = gateway.pid("control")
    gateway.signal(signal.SIGHUP)
    await until(lambda: ("control", first, "SIGHUP") in gateway.events())
    os.kill(first, signal.SIGKILL)
    await until(lambda: gateway.logged("child_exited"))
    gateway.signal(signal.SIGHUP)
    second = await gateway.next_pid("control", first)
    await until(lambda: ("control", second, "SIGHUP") in gateway.events())
    assert len(gateway.logged("child_exited")) == 1
