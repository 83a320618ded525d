"""The embedded store: one owner a folder, nothing acknowledged is lost, somebody always takes over."""

import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from gateway.supervisor.paths import embedded_socket
from tests.integration.supervisor.gateway_run import GatewayRun, store_command
from tests.support.polling import until

Run = Callable[..., GatewayRun]


def test_the_folder_and_the_socket_are_for_this_user_only(standing: GatewayRun) -> None:
    assert standing.data_dir is not None
    path = Path(embedded_socket(standing.data_dir))
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (standing.data_dir, path.parent, path)]
    assert modes == [0o700] * 3


async def test_a_folder_with_a_long_path_can_be_used(run_gateway: Run, data_dir: Path) -> None:
    deep = data_dir / ("long" * 30) / ("long name " * 8)
    assert len(str(deep)) > 200
    await run_gateway(deep).ready()
    assert store_command(deep, "PING") == b"+PONG\r\n"
    assert (deep / "appendonlydir").is_dir()


async def test_what_a_killed_store_acknowledged_is_there_again(run_gateway: Run, data_dir: Path) -> None:
    gateway = await run_gateway(data_dir).ready()
    pid = gateway.pid("store")
    count = 0
    while store_command(data_dir, "INCR", "count") == f":{count + 1}\r\n".encode():
        count += 1
        if count == 100:
            os.kill(pid, signal.SIGKILL)
    await gateway.next_pid("store", pid)
    assert count >= 100
    kept = int(store_command(data_dir, "INCR", "count")[1:])
    assert kept in (count + 1, count + 2)  # one may have been written but not acknowledged


async def test_a_file_cut_in_the_middle_of_a_write_loads(run_gateway: Run, data_dir: Path) -> None:
    first = await run_gateway(data_dir).ready()
    store_command(data_dir, "SET", "a", "1")
    store_command(data_dir, "SET", "b", "2")
    first.signal(signal.SIGKILL)
    await first.nothing_left()
    (file,) = (data_dir / "appendonlydir").glob("*.incr.aof")
    os.truncate(file, file.stat().st_size - 3)
    await run_gateway(data_dir).ready()
    assert store_command(data_dir, "GET", "a") == b"$1\r\n1\r\n"
    assert store_command(data_dir, "GET", "b") == b"$-1\r\n"


async def test_a_store_that_cannot_load_ends_the_start_with_its_reason(
    run_gateway: Run, data_dir: Path
) -> None:
    first = await run_gateway(data_dir).ready()
    store_command(data_dir, "SET", "a", "1")
    first.signal(signal.SIGTERM)
    await first.ended()
    (file,) = (data_dir / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(b"!" * 100 + file.read_bytes())
    gateway = run_gateway(data_dir)
    assert await gateway.ended() == 1
    reason = gateway.logged("failed")[0]["reason"]
    assert "the server ended with 1" in reason
    assert "Bad file format" in reason
    assert str(data_dir / "store.log") in reason
    assert gateway.events() == []


async def test_a_socket_left_by_a_dead_server_is_no_obstacle(run_gateway: Run, data_dir: Path) -> None:
    path = Path(embedded_socket(data_dir))
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    await run_gateway(data_dir).ready()
    assert store_command(data_dir, "PING") == b"+PONG\r\n"


async def test_a_second_gateway_uses_the_running_server(run_gateway: Run, data_dir: Path) -> None:
    first = await run_gateway(data_dir).ready()
    second = await run_gateway(data_dir).ready()
    assert second.logged("store_shared")
    assert second.logged("child_ready", child="store") == []
    second.signal(signal.SIGTERM)
    assert await second.ended() == 0
    assert store_command(data_dir, "PING") == b"+PONG\r\n"
    assert first.logged("child_exited") == []


async def test_two_gateways_started_together_share_one_server(run_gateway: Run, data_dir: Path) -> None:
    runs = [run_gateway(data_dir), run_gateway(data_dir)]
    for run in runs:
        await run.ready()
    assert len([run for run in runs if run.logged("child_ready", child="store")]) == 1
    assert len([run for run in runs if run.logged("store_shared")]) == 1


async def test_when_the_owner_is_killed_the_other_takes_over(run_gateway: Run, data_dir: Path) -> None:
    first = await run_gateway(data_dir).ready()
    second = await run_gateway(data_dir).ready()
    assert store_command(data_dir, "SET", "a", "1") == b"+OK\r\n"
    first.signal(signal.SIGKILL)
    await first.nothing_left()
    await until(lambda: second.logged("child_ready", child="store"), within_s=2)
    assert store_command(data_dir, "GET", "a") == b"$1\r\n1\r\n"


async def test_when_the_owner_stops_the_other_takes_over(run_gateway: Run, data_dir: Path) -> None:
    first = await run_gateway(data_dir).ready()
    second = await run_gateway(data_dir).ready()
    store_command(data_dir, "SET", "a", "1")
    first.signal(signal.SIGTERM)
    assert await first.ended() == 0
    await until(lambda: second.logged("child_ready", child="store"), within_s=2)
    assert store_command(data_dir, "GET", "a") == b"$1\r\n1\r\n"
    second.signal(signal.SIGTERM)
    assert await second.ended() == 0


def test_the_server_holds_the_lock_too(standing: GatewayRun) -> None:
    """So it is free only when owner and server are gone, and two servers never meet at the same files."""
    assert standing.data_dir is not None
    lock = (standing.data_dir / "store.lock").resolve()

    def holds(pid: int) -> bool:
        return lock in [entry.resolve() for entry in Path(f"/proc/{pid}/fd").iterdir()]

    assert holds(standing.process.pid)
    names = ("store", "demo", "control", "worker-0")
    assert [name for name in names if holds(standing.pid(name))] == ["store"]
