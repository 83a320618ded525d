"""SIGUSR1: new workers for old ones, without a gap."""

import asyncio
import os
import signal
from collections.abc import Callable

from tests.integration.supervisor.gateway_run import GatewayRun, greeting
from tests.support.polling import until

Run = Callable[..., GatewayRun]


async def test_workers_are_replaced_one_by_one_the_new_one_ready_first(run_gateway: Run) -> None:
    gateway = await run_gateway(workers=2).ready()
    old = [gateway.pid("worker-0"), gateway.pid("worker-1")]
    gateway.signal(signal.SIGUSR1)
    await until(lambda: gateway.logged("workers_replaced"))
    new = [gateway.pid("worker-0"), gateway.pid("worker-1")]
    await until(
        lambda: {("worker-0", old[0], "leaves"), ("worker-1", old[1], "leaves")} <= set(gateway.events())
    )
    order = [
        ("worker-0", new[0], "starts"),
        ("worker-0", new[0], "ready"),
        ("worker-1", new[1], "starts"),
        ("worker-1", new[1], "ready"),
    ]
    events = gateway.events()
    assert [e for e in events if e in order] == order
    for n, name in enumerate(("worker-0", "worker-1")):
        assert events.index((name, new[n], "ready")) < events.index((name, old[n], "SIGUSR2"))
    assert set(old).isdisjoint(new)
    await until(lambda: len(gateway.alive()) == 4)
    assert gateway.logged("child_exited") == []  # a retired worker is not a dead one


async def test_no_connection_is_refused_and_open_streams_finish(run_gateway: Run) -> None:
    gateway = await run_gateway(behaviour={"worker-0": {"finishes_streams": True}}).ready()
    old = gateway.pid("worker-0")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.data_port)
    assert (await reader.readline()).split()[1] == str(old).encode()
    gateway.signal(signal.SIGUSR1)
    served = set()
    while not gateway.logged("workers_replaced"):
        served.add(await greeting(gateway.data_port))
    new = gateway.pid("worker-0")
    await until(lambda: ("worker-0", old, "SIGUSR2") in gateway.events())
    assert await greeting(gateway.data_port) == ("worker-0", new)
    assert served <= {("worker-0", old), ("worker-0", new)}
    writer.write_eof()
    assert await reader.readline() == b"bye\n"
    writer.close()
    await until(lambda: ("worker-0", old, "leaves") in gateway.events())


async def test_a_new_worker_that_fails_leaves_the_old_one_in_place(run_gateway: Run) -> None:
    gateway = await run_gateway(workers=2).ready()
    old = gateway.pid("worker-0")
    gateway.behave({"worker-0": {"exits": 9}})
    gateway.signal(signal.SIGUSR1)
    await until(lambda: gateway.logged("replacement_failed"))
    assert (gateway.pid("worker-0"), len(gateway.alive())) == (old, 4)
    assert not [e for e in gateway.events() if e[2] == "SIGUSR2"]
    gateway.behave({})
    gateway.signal(signal.SIGUSR1)
    await until(lambda: gateway.logged("workers_replaced"))
    assert gateway.pid("worker-0") != old


async def test_a_worker_killed_during_its_replacement_is_replaced_once(run_gateway: Run) -> None:
    gateway = await run_gateway().ready()
    old = gateway.pid("worker-0")
    gateway.signal(signal.SIGUSR1)
    await until(lambda: len({pid for _, pid, _ in gateway.events("worker-0")}) == 2)
    os.kill(old, signal.SIGKILL)
    await until(lambda: gateway.logged("workers_replaced"))
    await until(lambda: len(gateway.alive()) == 3)
    assert len({pid for _, pid, _ in gateway.events("worker-0")}) == 2


async def test_sigterm_lets_a_retiring_worker_be(run_gateway: Run) -> None:
    gateway = await run_gateway(behaviour={"worker-0": {"finishes_streams": True}}).ready()
    old = gateway.pid("worker-0")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.data_port)
    await reader.readline()
    gateway.signal(signal.SIGUSR1)
    await until(lambda: ("worker-0", old, "SIGUSR2") in gateway.events())
    gateway.signal(signal.SIGTERM)
    await until(lambda: ("worker-0", gateway.pid("worker-0"), "leaves") in gateway.events())
    assert gateway.process.poll() is None  # it waits for the stream
    writer.write_eof()
    assert await reader.readline() == b"bye\n"
    writer.close()
    assert await gateway.ended() == 0
    assert ("worker-0", old, "SIGTERM") not in gateway.events()
