import asyncio
import hashlib
import stat
from collections.abc import Callable
from typing import Any

from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import ATTEMPTS, IN_FLIGHT
from tests.integration.control.running import FakeWorker, RunningControl
from tests.support.polling import until

FILE = 'upstreams: {a: {base_url: "http://127.0.0.1:9/v1", api_keys: [one, two]}}\naliases: {x: {model: m}}'


async def test_a_worker_is_told_everything_when_it_comes(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    async with FakeWorker(control) as worker:
        assert worker.instance
        assert worker.state["config"] == control.path.read_text()
        assert worker.state["aliases"] == {"x": {"block": {"model": "m"}, "revision": 1}}
        assert worker.state["discovered"] == {}


async def test_a_configuration_that_a_worker_has_is_not_sent_again(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    sha = hashlib.sha256(control.path.read_bytes()).hexdigest()
    async with FakeWorker(control, config=sha) as worker:
        assert worker.state["config"] is None
        await control.call("PUT", "/aliases/y", {"model": "m"})
        assert worker.state["config"] is None
        control.write(FILE.replace("one", "three"))
        await control.call("POST", "/config/reload")
        assert worker.state["config"] == control.path.read_text()


async def test_generations_grow_over_restarts(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)
    async with FakeWorker(control) as worker:
        await control.call("PUT", "/aliases/y", {"model": "m"})
        before = [state["generation"] for state in worker.states]
    second = await start_control(FILE, runtime="second")
    async with FakeWorker(second) as worker:
        assert [*before, worker.state["generation"]] == sorted({*before, worker.state["generation"]})


async def test_the_socket_is_for_this_user_alone(control: RunningControl) -> None:
    assert stat.S_IMODE((control.runtime / "control.sock").stat().st_mode) == 0o600


async def test_metrics_of_all_workers_add_up(start_control: Callable[..., Any]) -> None:
    control = await start_control(FILE)

    async def exposed(*lines: str) -> bool:
        text = (await control.http.get("/metrics")).text
        return all(f"\n{line}\n" in text for line in lines)

    async def soon(*lines: str) -> None:
        for _ in range(200):
            if await exposed(*lines):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(lines)

    first, second = Counters(), Counters()
    for counters, n in ((first, 2), (second, 3)):
        counters.inc(ATTEMPTS, ("a", "committed"), n)
        counters.set(IN_FLIGHT, (), n)
    total = 'tunegate_attempts_total{outcome="committed",upstream="a"}'
    async with FakeWorker(control) as one:
        one.send(type="metrics", instance=one.instance, delta=first.totals())
        async with FakeWorker(control, 1) as two:
            two.send(type="metrics", instance=two.instance, delta=second.totals())
            two.send(type="metrics", instance="of another control process", delta=second.totals())
            await soon(f"{total} 5.0", "tunegate_in_flight 5.0")
        await soon(f"{total} 5.0", "tunegate_in_flight 2.0")  # what a worker counted outlives it
        first.inc(ATTEMPTS, ("a", "committed"))
        one.send(type="metrics", instance=one.instance, delta=first.take_delta())
        await soon(f"{total} 6.0")


async def test_what_workers_know_of_upstreams_is_shown_and_explained(
    start_control: Callable[..., Any],
) -> None:
    control = await start_control(FILE)
    async with FakeWorker(control) as one, FakeWorker(control, 1) as two:
        one.send(type="health", upstreams={"a": {"in_flight": 2, "set_aside": [0]}})
        two.send(type="health", upstreams={"a": {"in_flight": 1, "set_aside": []}})
        await until(lambda: all(worker.health for worker in control.plane.link.workers), "both reports")
        (upstream,) = (await control.call("GET", "/upstreams"))["data"]
        assert upstream["in_flight"] == 3
        assert upstream["state"] == "ready"
        assert upstream["credentials"] == [{"n": 1, "state": "set_aside"}, {"n": 2, "state": "ready"}]
        two.send(type="health", upstreams={"a": {"in_flight": 0, "set_aside": [1]}})
        await until(lambda: control.plane.link.workers[1].health["a"]["set_aside"], "the second report")
        (upstream,) = (await control.call("GET", "/upstreams"))["data"]
        assert upstream["state"] == "credential_set_aside"
        explained = await control.call("GET", "/explain?model=x")
        assert explained["attempts"] == []
        assert [left["reason"] for left in explained["left_out"]] == ["credential_set_aside"]
    await until(lambda: not control.plane.link.workers, "the workers' leaving")
    assert len((await control.call("GET", "/explain?model=x"))["attempts"]) == 1


async def test_a_worker_that_talks_nonsense_is_cut_off_and_the_others_are_not(
    start_control: Callable[..., Any],
) -> None:
    control = await start_control(FILE)
    async with FakeWorker(control) as good:
        for nonsense in (b"{}\n", b"\xff\n", b'{"type": "unheard of"}\n', b'{"type": "hello"}\n'):
            reader, writer = await asyncio.open_unix_connection(control.runtime / "control.sock")
            writer.write(nonsense)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        await control.call("PUT", "/aliases/y", {"model": "m"})
        assert "y" in good.state["aliases"]
