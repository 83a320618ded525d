"""The end in good order, and the ends that are not."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.supervisor.gateway_run import GatewayRun, greeting, store_command
from tests.support.polling import until

Run = Callable[..., GatewayRun]


async def test_sigterm_ends_workers_then_control_then_the_store(run_gateway: Run, data_dir: Path) -> None:
    gateway = run_gateway(data_dir, workers=2, demo=True, behaviour={"worker-0": {"finishes_streams": True}})
    await gateway.ready()
    while True:  # until a stream is with the worker that finishes its streams
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.data_port)
        if (await reader.readline()).startswith(b"worker-0"):
            break
        writer.close()
    gateway.signal(signal.SIGTERM)
    await until(lambda: ("worker-1", gateway.pid("worker-1"), "leaves") in gateway.events())
    assert store_command(data_dir, "PING") == b"+PONG\r\n"
    assert (await greeting(gateway.admin_port))[0] == "control"
    writer.write_eof()
    assert await reader.readline() == b"bye\n"
    writer.close()
    assert await gateway.ended() == 0
    ends = [name for name, _, event in gateway.events() if event == "leaves"]
    assert (ends[:2], sorted(ends[2:])) == (["worker-1", "worker-0"], ["control", "demo"])
    assert gateway.alive() == []
    assert "bye bye" in (data_dir / "store.log").read_text()
    assert store_command(data_dir, "PING") == b""


async def test_when_the_workers_have_left_calls_are_refused_and_control_still_has_the_store(
    run_gateway: Run, data_dir: Path
) -> None:
    gateway = await run_gateway(data_dir, behaviour={"control": {"hears_nothing": True}}).ready()
    port = gateway.data_port
    gateway.signal(signal.SIGTERM)
    await until(lambda: ("control", gateway.pid("control"), "SIGTERM") in gateway.events())
    with pytest.raises(ConnectionRefusedError):
        await greeting(port)
    assert store_command(data_dir, "PING") == b"+PONG\r\n"
    assert (await greeting(gateway.admin_port))[0] == "control"
    assert gateway.process.poll() is None
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() == 1


async def test_a_child_that_dies_during_the_drain_is_still_replaced_unless_it_drains(
    run_gateway: Run, data_dir: Path
) -> None:
    gateway = await run_gateway(data_dir, behaviour={"worker-0": {"finishes_streams": True}}).ready()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.data_port)
    await reader.readline()
    gateway.signal(signal.SIGTERM)
    await until(lambda: ("worker-0", gateway.pid("worker-0"), "SIGTERM") in gateway.events())
    store, control = gateway.pid("store"), gateway.pid("control")
    os.kill(store, signal.SIGKILL)
    os.kill(control, signal.SIGKILL)
    await gateway.next_pid("store", store)
    await gateway.next_pid("control", control)
    writer.close()
    assert await gateway.ended() == 0
    assert [event for _, _, event in gateway.events("worker-0")].count("starts") == 1


async def test_sigint_is_passed_to_the_workers_as_such(run_gateway: Run) -> None:
    gateway = await run_gateway().ready()
    gateway.signal(signal.SIGINT)
    assert await gateway.ended() == 0
    assert [event for _, _, event in gateway.events("worker-0")] == ["starts", "ready", "SIGINT", "leaves"]
    assert [event for _, _, event in gateway.events("control")] == ["starts", "ready", "SIGTERM", "leaves"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once(run_gateway: Run, data_dir: Path, second: int) -> None:
    deaf = {"hears_nothing": True}
    gateway = await run_gateway(data_dir, drain_s=600, behaviour={"worker-0": deaf, "control": deaf}).ready()
    store_command(data_dir, "SET", "key", "value")
    gateway.signal(signal.SIGTERM)
    await until(lambda: ("worker-0", gateway.pid("worker-0"), "SIGTERM") in gateway.events())
    gateway.signal(second)
    assert await gateway.ended(within_s=2) == 1
    assert gateway.alive() == []
    assert "bye bye" in (data_dir / "store.log").read_text()  # even now it was asked


async def test_a_clean_end_removes_what_the_run_left_and_nothing_else(run_gateway: Run) -> None:
    gateway = await run_gateway(demo=True).ready()
    (gateway.runtime / "active.yaml").write_text("server: {}")
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() == 0
    assert {path.name for path in gateway.runtime.iterdir()} == {
        "stdout",
        "stderr",
        "events",
        "behaviour.json",
    }


async def test_kill_of_the_supervisor_takes_everything_along(run_gateway: Run, data_dir: Path) -> None:
    gateway = await run_gateway(data_dir, workers=2, demo=True).ready()
    assert len(gateway.alive()) == 6
    gateway.signal(signal.SIGKILL)
    await gateway.ended()
    await gateway.nothing_left()
    again = await run_gateway(data_dir, port=0).ready()
    assert again.logged("store_shared") == []
