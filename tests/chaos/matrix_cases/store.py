"""A store that is away, slow, stopped, killed, or refuses what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from tests.chaos.matrix_kit.case import EXACT, NO_RECORD, Answered, Ledger, Refused, Setting, attempts, case
from tests.chaos.matrix_kit.client import Seen
from tests.chaos.matrix_kit.stage import Scene
from tests.support.fault_proxy import SOUND, Fault
from tests.support.valkey import ValkeyServer

STORE = Setting("store", own_store=True)
BUDGET = {"budget": {"usd": 1000, "period": "total"}}
UNAVAILABLE = Refused(503, "store_unavailable", {"retry-after": None})
SERVED: dict[str, Any] = {
    "client": Answered(),
    "metrics": (attempts("committed", 1),),
    "ledger": EXACT,
    "within_s": 1.0,
    "setting": STORE,
}
REFUSED: dict[str, Any] = {
    "client": UNAVAILABLE,
    "metrics": (attempts("committed", 0),),
    "ledger": NO_RECORD,
    "within_s": 1.0,
    "setting": STORE,
    "key": BUDGET,
}


@contextlib.asynccontextmanager
async def _refusing(scene: Scene) -> AsyncIterator[None]:
    await scene.known()
    await scene.stage.own_store.proxy.refuse()
    try:
        yield
    finally:
        await scene.stage.own_store.proxy.listen()
        await scene.stage.store_is_back()


@contextlib.asynccontextmanager
async def _stopped(scene: Scene) -> AsyncIterator[None]:
    await scene.known()
    scene.stage.own_store.server.pause()
    try:
        yield
    finally:
        scene.stage.own_store.server.resume()
        await scene.stage.store_is_back()


@case(
    "store refuses",
    given="connections to the store are refused; a key that is known, without a budget. Its record comes "
    "from the journal",
    **SERVED,
)
async def refuses(scene: Scene) -> Seen:
    async with _refusing(scene):
        return await scene.stream()


@case("store refuses, key with a budget", given="the same, and money is at stake", **REFUSED)
async def refuses_money(scene: Scene) -> Seen:
    async with _refusing(scene):
        return await scene.stream()


@case("store hangs", given="the store is stopped (SIGSTOP): connected, and silent", **SERVED)
async def hangs(scene: Scene) -> Seen:
    async with _stopped(scene):
        return await scene.stream()


@case("store hangs, key with a budget", given="the same, and money is at stake", **REFUSED)
async def hangs_money(scene: Scene) -> Seen:
    async with _stopped(scene):
        return await scene.stream()


@case("store +50 ms", given="each round trip to the store takes 50 ms more", **SERVED)
async def slow(scene: Scene) -> Seen:
    await scene.known()
    proxy = scene.stage.own_store.proxy
    proxy.spoil(Fault(delay_s=0.025))
    try:
        seen = await scene.stream()
        assert seen.took_s >= 0.1, "admission and settlement, a round trip each"
        return seen
    finally:
        proxy.spoil(SOUND)


CALLS = 60


@case(
    "store killed under load",
    given=f"kill -9 in the middle of {CALLS} calls, and started again; took: all of them",
    client=Answered(),
    metrics=(attempts("committed", CALLS),),
    ledger=Ledger({"exact": CALLS}, "upstream"),
    requests={("200", "none"): CALLS},
    within_s=15,
    setting=STORE,
)
async def killed(scene: Scene) -> Seen:
    await scene.known()
    server = scene.stage.own_store.server
    began = asyncio.get_running_loop().time()
    calls = [asyncio.create_task(_calls(scene, CALLS // 4)) for _ in range(4)]
    await asyncio.sleep(0.1)
    server.kill()
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.start)
    answers = [answer for each in await asyncio.gather(*calls) for answer in each]
    for answer in answers:
        Answered().check(answer)
    took_s = asyncio.get_running_loop().time() - began
    await scene.stage.store_is_back()
    return replace(answers[-1], took_s=took_s)


async def _calls(scene: Scene, count: int) -> list[Seen]:
    found = []
    for _ in range(count):
        found.append(await scene.stream())
        await asyncio.sleep(0.05)
    return found


@case("NOSCRIPT", given="the store has forgotten all scripts", **SERVED)
async def no_script(scene: Scene) -> Seen:
    await scene.known()
    scene.stage.own_store.server.run("SCRIPT", "FLUSH", "SYNC")
    return await scene.stream()


@contextlib.asynccontextmanager
async def _loading(scene: Scene) -> AsyncIterator[None]:
    """A real load: 200 keys of 4 KiB, 10 ms each."""
    await scene.known()
    server = scene.stage.own_store.server
    server.run("DEBUG", "POPULATE", 200, "filler", 4096)
    server.run("CONFIG", "SET", "loading-process-events-interval-bytes", 1024)
    server.run("CONFIG", "SET", "key-load-delay", 10_000)
    loading = asyncio.create_task(asyncio.to_thread(server.run, "DEBUG", "RELOAD"))
    try:
        async with asyncio.timeout(5):
            while not await asyncio.to_thread(_is_loading, server):
                await asyncio.sleep(0.01)
        yield
    finally:
        await loading
        server.run("CONFIG", "SET", "key-load-delay", 0)
        await scene.stage.store_is_back()


def _is_loading(server: ValkeyServer) -> bool:
    return b"loading:1" in server.run("INFO", "persistence")


@contextlib.asynccontextmanager
async def _readonly(scene: Scene) -> AsyncIterator[None]:
    await scene.known()
    server = scene.stage.own_store.server
    server.run("REPLICAOF", "127.0.0.1", 1)
    try:
        yield
    finally:
        server.run("REPLICAOF", "NO", "ONE")
        await scene.stage.store_is_back()


@contextlib.asynccontextmanager
async def _full(scene: Scene) -> AsyncIterator[None]:
    await scene.known()
    server = scene.stage.own_store.server
    server.run("CONFIG", "SET", "maxmemory", 1)
    try:
        yield
    finally:
        server.run("CONFIG", "SET", "maxmemory", 0)
        await scene.stage.store_is_back()


@case("LOADING", given="the store reads its data set and answers LOADING", **SERVED)
async def loading(scene: Scene) -> Seen:
    async with _loading(scene):
        return await scene.stream()


@case("LOADING, key with a budget", given="the same, and money is at stake", **REFUSED)
async def loading_money(scene: Scene) -> Seen:
    async with _loading(scene):
        return await scene.stream()


@case("READONLY", given="the store has become a replica and takes no writes", **SERVED)
async def read_only(scene: Scene) -> Seen:
    async with _readonly(scene):
        return await scene.stream()


@case("READONLY, key with a budget", given="the same, and money is at stake", **REFUSED)
async def read_only_money(scene: Scene) -> Seen:
    async with _readonly(scene):
        return await scene.stream()


@case("OOM", given="the store is over its `maxmemory` and takes no writes", **SERVED)
async def out_of_memory(scene: Scene) -> Seen:
    async with _full(scene):
        return await scene.stream()


@case("OOM, key with a budget", given="the same, and money is at stake", **REFUSED)
async def out_of_memory_money(scene: Scene) -> Seen:
    async with _full(scene):
        return await scene.stream()
