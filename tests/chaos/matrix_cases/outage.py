"""An upstream that fails for long: what it is asked meanwhile, and how soon it is used again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace

from tests.chaos.matrix_cases.refusals import error
from tests.chaos.matrix_kit.case import Answered, Counted, Ledger, Setting, attempts, case
from tests.chaos.matrix_kit.client import Seen
from tests.chaos.matrix_kit.stage import Scene

LASTS_S = 30.0
CLIENTS = 8
PAUSE_S = 0.1
FLOOR = 3
ANY = float("inf")


@case(
    f"upstream failing for {LASTS_S:g} s",
    given=f"every call is answered 500, {CLIENTS} clients go on calling, about ten times a second each. No "
    f"more than 1.1 times the calls of clients reach the upstream (and {FLOOR}). Then it is repaired; took: "
    "until a client is served",
    client=Answered(),
    metrics=(
        attempts("server_error", 5, ANY),
        Counted("tunegate_requests_total", {"status": "503", "error_type": "no_upstream"}, 1, ANY),
    ),
    ledger=Ledger({"released": None, "exact": 1}),
    requests={},
    within_s=10,
    setting=Setting("outage", alone=True),
)
async def fails(scene: Scene) -> Seen:
    down = error(None, "server_error", "on fire")
    for _ in range(20_000):
        scene.upstream.answers(scene.model, down, 500)
    over = asyncio.Event()
    clients = [asyncio.create_task(_call_on(scene, over)) for _ in range(CLIENTS)]
    await asyncio.sleep(LASTS_S)
    asked = scene.calls()
    over.set()
    seen = Counter[int | None]()
    for each in await asyncio.gather(*clients):
        seen += each
    assert set(seen) <= {502, 503}, seen
    assert asked <= 1.1 * seen.total() + FLOOR, f"{asked} calls of the upstream for {seen.total()} of clients"
    scene.upstream._scripts[scene.model].clear()
    repaired = time.monotonic()
    while (answer := await scene.stream()).status != 200:
        await asyncio.sleep(PAUSE_S)
    return replace(answer, took_s=time.monotonic() - repaired)


async def _call_on(scene: Scene, over: asyncio.Event) -> Counter[int | None]:
    seen: Counter[int | None] = Counter()
    while not over.is_set():
        seen[(await scene.stream()).status] += 1
        await asyncio.sleep(PAUSE_S)
    return seen
