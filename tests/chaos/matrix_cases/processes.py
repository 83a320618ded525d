"""The gateway's own processes: overloaded, reloaded, drained, killed, out of descriptors or of disk."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.chaos.matrix_kit.case import (
    COUNTED,
    EXACT,
    Answered,
    Broken,
    Cut,
    Ledger,
    Refused,
    Setting,
    attempts,
    case,
)
from tests.chaos.matrix_kit.client import Line, Seen
from tests.chaos.matrix_kit.stage import Scene
from tests.support.fake_upstream import done, finish, role, stall, text, usage
from tests.support.fake_upstream import until as until_said
from tests.support.polling import until

PLACES = 10
REFUSALS = 20
STREAMS = 200
GRACE_S = 0.2


def _alone(name: str, **server: Any) -> Setting:
    return Setting(name, server=server, alone=True)


async def _reading(scene: Scene, count: int) -> list[Line]:
    """Streams that have begun; their upstream goes on when the scene says so."""
    lines = [await scene.line() for _ in range(count)]
    for line in lines:
        await line.send(scene.request(stream=True))
    for line in lines:
        await line.until(text("Hel"))
    return lines


def _held_back(scene: Scene, count: int) -> asyncio.Event:
    """The next `count` calls say half of their answer, and the rest when the event is set."""
    goes_on = asyncio.Event()
    rest = (until_said(goes_on), text("lo"), finish(), usage(), done())
    for _ in range(count):
        scene.upstream.plays(scene.model, role(), text("Hel"), *rest)
    return goes_on


@case(
    "5x overload",
    given=f"{PLACES} calls in progress and {PLACES} waiting are all it takes; {REFUSALS} more come. The "
    "waiting ones are served later. Took: the median of the refusals",
    client=Refused(503, "gateway_overloaded", {"retry-after": None}),
    metrics=(attempts("committed", 2 * PLACES),),
    ledger=Ledger({"exact": 2 * PLACES}),
    requests={("200", "none"): 2 * PLACES, ("503", "gateway_overloaded"): REFUSALS},
    within_s=0.01,
    setting=_alone("overload", max_in_flight=PLACES, max_queue=PLACES, queue_timeout_s=20),
    upstream={"timeouts": {"idle_s": 20}},
)
async def overload(scene: Scene) -> Seen:
    goes_on = _held_back(scene, PLACES)
    served = await _reading(scene, PLACES)
    waiting = [await scene.line() for _ in range(PLACES)]
    for line in waiting:
        await line.send(scene.request(stream=True))
    await asyncio.sleep(0.2)  # nothing shows from outside that they stand in the queue
    refusals = [await scene.stream() for _ in range(REFUSALS)]
    for refusal in refusals:
        scene.case.client.check(refusal)
    goes_on.set()
    for line in served + waiting:
        Answered().check(await line.rest())
    return replace(refusals[-1], took_s=statistics.median(refusal.took_s for refusal in refusals))


@case(
    "bad reload",
    given="a configuration with a mistake is loaded while a stream runs: refused, the old one goes on",
    client=Answered(),
    metrics=(attempts("committed", 2),),
    ledger=Ledger({"exact": 2}),
    requests={("200", "none"): 2},
    within_s=1,
    setting=_alone("reload"),
    upstream={"timeouts": {"idle_s": 20}},
)
async def bad_reload(scene: Scene) -> Seen:
    goes_on = _held_back(scene, 1)
    (running,) = await _reading(scene, 1)
    good = scene.gateway.path.read_text(encoding="utf-8")
    scene.gateway.path.write_text(good + "\nupstreamz: {}\n", encoding="utf-8")
    answer = await asyncio.to_thread(scene.gateway.ask_admin, "POST", "/admin/v1/config/reload")
    assert answer.status_code == 400, answer.text
    assert "upstreamz" in answer.text
    seen = await scene.stream()
    goes_on.set()
    Answered().check(await running.rest())
    scene.gateway.path.write_text(good, encoding="utf-8")
    return seen


async def _exit_code(scene: Scene) -> int:
    return await asyncio.to_thread(scene.gateway.process.wait, 30)


@case(
    f"SIGTERM with {STREAMS} streams",
    given=f"the gateway is told to end while {STREAMS} streams run, and one more that is the last: all of "
    "them finish, it exits with 0. Figures are those before the last one ended. Took: from the last "
    "words to the exit",
    client=Answered(),
    metrics=(attempts("committed", STREAMS + 1),),
    ledger=Ledger({"exact": STREAMS + 1}, "upstream"),
    requests={("200", "none"): STREAMS},
    within_s=5,
    setting=_alone("drain", drain_grace_s=GRACE_S, drain_timeout_s=20),
    upstream={"timeouts": {"first_token_s": 20, "idle_s": 20}},
)
async def drained(scene: Scene) -> Seen:
    goes_on = _held_back(scene, STREAMS)
    lines = await _reading(scene, STREAMS)
    ends = _held_back(scene, 1)
    (last,) = await _reading(scene, 1)
    scene.gateway.process.send_signal(signal.SIGTERM)
    await until(lambda: scene.gateway.logged("draining"), "the drain")
    await asyncio.sleep(GRACE_S + 0.3)
    Refused(503, "gateway_draining", {"retry-after": None}).check(await scene.stream())
    goes_on.set()
    for line in lines:
        Answered().check(await line.rest())
    await _counted(scene, STREAMS)
    ends.set()
    began = time.monotonic()
    seen = await last.rest()
    assert await _exit_code(scene) == 0
    took_s = time.monotonic() - began
    await asyncio.to_thread(scene.gateway.start)  # its store is read below
    return replace(seen, took_s=took_s)


async def _counted(scene: Scene, streams: int) -> None:
    """Take the figures once this many of them are in."""
    async with asyncio.timeout(10):
        while True:
            scene.samples = await scene.stage.samples()
            ended = sum(
                value
                for name, labels, value in scene.samples
                if name == "tunegate_requests_total" and labels["status"] == "200"
            )
            if ended >= streams:
                return
            await asyncio.sleep(0.05)


@case(
    "drain deadline",
    given="the gateway is told to end and a stream outlasts `drain_timeout_s`, 1 s here; it exits with 0. "
    "Took: from the signal to the end of the stream",
    client=Broken("Hel", "gateway_draining"),
    metrics=(),
    ledger=COUNTED,
    requests={},
    within_s=2.5,
    setting=_alone("deadline", drain_grace_s=0.2, drain_timeout_s=1),
    upstream={"timeouts": {"idle_s": 20}},
)
async def cut_by_the_drain(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hel"), stall())
    (line,) = await _reading(scene, 1)
    began = time.monotonic()
    scene.gateway.process.send_signal(signal.SIGTERM)
    seen = replace(await line.rest(), took_s=time.monotonic() - began)
    assert await _exit_code(scene) == 0
    await asyncio.to_thread(scene.gateway.start)
    return seen


@case(
    "kill -9 of a worker",
    given="in the middle of a stream; another worker takes its place. Took: until the next call is served",
    client=Cut(),
    metrics=(),
    ledger=Ledger({"orphaned": 1, "exact": 1}),
    requests={("200", "none"): 1},
    within_s=3,
    settled_within_s=90,
    setting=_alone("kill"),
    upstream={"timeouts": {"idle_s": 60}},
)
async def killed(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hel"), stall())
    (line,) = await _reading(scene, 1)
    began = time.monotonic()
    os.kill(scene.gateway.pid("worker-0"), signal.SIGKILL)
    seen = await line.rest()
    while (await scene.stream()).status != 200:
        await asyncio.sleep(0.01)
    return replace(seen, took_s=time.monotonic() - began)


@case(
    "file descriptors exhausted",
    given="the worker may open no more files and 60 idle clients have taken the last: a stream that runs "
    "goes on, and as soon as they leave others are served. Took: the first call after that",
    client=Answered(),
    metrics=(attempts("committed", 2),),
    ledger=Ledger({"exact": 2}),
    requests={("200", "none"): 2},
    within_s=2,
    setting=_alone("files", header_timeout_s=30),
    upstream={"timeouts": {"idle_s": 20}},
)
async def no_files(scene: Scene) -> Seen:
    goes_on = _held_back(scene, 1)
    (running,) = await _reading(scene, 1)
    pid = scene.gateway.pid("worker-0")
    opened = _files(pid)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened + 20, opened + 20))
    crowd = [await scene.line() for _ in range(60)]  # the kernel takes them, whether the worker does or not
    await until(lambda: _files(pid) >= opened + 19, "the last descriptor")
    began = _cpu_s(pid)
    await asyncio.sleep(1)
    assert _cpu_s(pid) - began < 0.5, "it spins"
    goes_on.set()
    Answered().check(await running.rest())
    for line in crowd:
        line.leave()
    return await scene.stream()


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@case(
    "journal disk full",
    given="the store refuses and the journal's disk takes nothing (RLIMIT_FSIZE); both come back. The record "
    "waits in memory meanwhile",
    client=Answered(),
    metrics=(attempts("committed", 1),),
    ledger=EXACT,
    within_s=4,
    setting=Setting("disk", own_store=True, alone=True),
)
async def no_disk(scene: Scene) -> Seen:
    await scene.known()
    store, pid = scene.stage.own_store, scene.gateway.pid("worker-0")
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    await store.proxy.refuse()
    seen = await scene.stream()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    await store.proxy.listen()
    await scene.stage.store_is_back()
    return seen
