"""The embedded server of the response cache: only where it is wanted, never in the way, never an orphan."""

import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import hiredis

from gateway.supervisor.paths import embedded_cache_socket
from tests.integration.supervisor.gateway_run import GatewayRun, cache_command, store_command
from tests.support.polling import until

Run = Callable[..., GatewayRun]

MEMORY_BYTES = 8 << 20
WANTED = {"is_wanted": True, "memory_bytes": MEMORY_BYTES}
UNWANTED = {**WANTED, "is_wanted": False}


def filled(data_dir: Path, count: int, size: int) -> list[object]:
    """The replies to so many entries of so many bytes in one write."""
    reader = hiredis.Reader()
    commands = b"".join(hiredis.pack_command(("SET", f"entry-{i}", b"x" * size)) for i in range(count))
    replies: list[object] = []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(embedded_cache_socket(data_dir))
        sock.sendall(commands)
        while len(replies) < count:
            reader.feed(sock.recv(65536))
            while (reply := reader.gets()) is not False:
                replies.append(reply)
    return replies


def names_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


async def running(gateway: GatewayRun) -> int:
    """Its process, once it answers."""
    await until(lambda: gateway.logged("child_ready", child="cache"), "the cache's server")
    return gateway.pid("cache")


async def test_it_runs_only_where_it_is_wanted(run_gateway: Run, data_dir: Path) -> None:
    gateway = await run_gateway(data_dir, cache=UNWANTED).ready()
    assert len(gateway.alive()) == 4  # supervisor, store, control, worker
    assert cache_command(data_dir, "PING") == b""
    assert not (data_dir / "cache.lock").exists()
    gateway.signal(signal.SIGUSR2)  # an alias wants it now
    pid = await running(gateway)
    gateway.signal(signal.SIGUSR2)
    assert cache_command(data_dir, "PING") == b"+PONG\r\n"
    assert len(gateway.alive()) == 5
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() == 0
    assert [each["pid"] for each in gateway.logged("child_ready", child="cache")] == [pid]
    assert gateway.alive() == []


async def test_a_gateway_whose_cache_is_elsewhere_has_none_to_start(run_gateway: Run) -> None:
    gateway = await run_gateway(cache=None).ready()
    gateway.signal(signal.SIGUSR2)
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() == 0
    assert gateway.logged("child_ready", child="cache") == []


async def test_a_store_of_ones_own_may_have_it_too(run_gateway: Run, data_dir: Path) -> None:
    gateway = await run_gateway(data_dir, embedded=False, cache=WANTED).ready()
    await running(gateway)
    assert cache_command(data_dir, "PING") == b"+PONG\r\n"
    assert gateway.logged("child_ready", child="store") == []


async def test_it_is_for_this_user_only_and_on_no_disk(run_gateway: Run, data_dir: Path) -> None:
    gateway = await run_gateway(data_dir, cache=WANTED).ready()
    await running(gateway)
    path = Path(embedded_cache_socket(data_dir))
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)] == [0o700] * 2
    assert cache_command(data_dir, "SET", "a", "1") == b"+OK\r\n"
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() == 0
    assert names_in(data_dir) == {"store.lock", "store.log", "cache.lock", "cache.log", "appendonlydir"}


async def test_a_full_cache_evicts_its_own_and_nothing_of_the_store(run_gateway: Run, data_dir: Path) -> None:
    gateway = await run_gateway(data_dir, cache=WANTED).ready()
    await running(gateway)
    for number in range(100):
        assert store_command(data_dir, "SET", f"record-{number}", "1") == b"+OK\r\n"
    replies = filled(data_dir, 3 * MEMORY_BYTES // 65536, 65536)
    assert set(replies) == {b"OK"}
    kept = int(cache_command(data_dir, "DBSIZE")[1:])
    assert 10 < kept < MEMORY_BYTES // 65536
    assert store_command(data_dir, "DBSIZE") == b":100\r\n"
    assert b"evicted_keys:0\r\n" in store_command(data_dir, "INFO", "stats")
    assert store_command(data_dir, "CONFIG", "GET", "maxmemory-policy").endswith(b"noeviction\r\n")


async def test_a_killed_one_is_restarted_empty(run_gateway: Run, data_dir: Path) -> None:
    gateway = await run_gateway(data_dir, cache=WANTED).ready()
    before = {name: gateway.pid(name) for name in ("store", "control", "worker-0")}
    old = await running(gateway)
    cache_command(data_dir, "SET", "a", "1")
    os.kill(old, signal.SIGKILL)
    await gateway.next_pid("cache", old)
    assert cache_command(data_dir, "GET", "a") == b"$-1\r\n"
    assert {name: gateway.pid(name) for name in before} == before


async def test_one_that_cannot_start_is_no_reason_not_to_serve(run_gateway: Run, data_dir: Path) -> None:
    (data_dir / "cache.log").mkdir(parents=True)  # the server cannot write it
    gateway = await run_gateway(data_dir, cache=WANTED).ready()
    await until(lambda: len(gateway.logged("child_not_ready", child="cache")) >= 2)
    assert [each["restart_in_s"] for each in gateway.logged("child_not_ready")][:2] == [0.1, 0.2]
    (data_dir / "cache.log").rmdir()
    await running(gateway)
    assert gateway.process.poll() is None


async def test_none_outlives_a_killed_gateway(run_gateway: Run, data_dir: Path) -> None:
    gateway = await run_gateway(data_dir, cache=WANTED).ready()
    await running(gateway)
    gateway.signal(signal.SIGKILL)
    await gateway.nothing_left()


async def test_two_gateways_on_a_folder_share_one_and_the_other_takes_over(
    run_gateway: Run, data_dir: Path
) -> None:
    first = await run_gateway(data_dir, cache=WANTED).ready()
    pid = await running(first)
    second = await run_gateway(data_dir, cache=WANTED).ready()
    await until(lambda: second.logged("cache_shared"), "the second gateway")
    first.signal(signal.SIGKILL)
    await first.nothing_left()
    assert await running(second) != pid
    assert cache_command(data_dir, "PING") == b"+PONG\r\n"
