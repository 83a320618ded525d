"""No connection, or one that dies under a request."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.matrix_kit.case import EXACT, RELEASED, Answered, Ledger, Refused, attempts, case
from tests.chaos.matrix_kit.client import Seen
from tests.chaos.matrix_kit.stage import Scene
from tests.support.fault_proxy import Fault

UNREACHABLE = Refused(502, "upstream_error")
TOO_LATE = Refused(504, "upstream_timeout")
LOOP_FREE_S = 0.05
TRIED = {"least": 3}


@case(
    "connect refused",
    given="nothing listens at the upstream's port",
    client=UNREACHABLE,
    metrics=(attempts("connect", **TRIED),),
    ledger=RELEASED,
    within_s=3,
    quick=True,
)
async def refused(scene: Scene) -> Seen:
    await scene.proxy.refuse()
    return await scene.stream()


@case(
    "connect refused, with a spare",
    given="nothing listens at the first upstream's port; another upstream may serve",
    client=Answered(),
    metrics=(attempts("connect", 1),),
    ledger=EXACT,
    within_s=0.5,
    spare=True,
    quick=True,
)
async def refused_with_a_spare(scene: Scene) -> Seen:
    await scene.proxy.refuse()
    seen = await scene.stream()
    assert seen.headers["x-tunegate-fallback"] == "connect"
    assert seen.headers["x-tunegate-attempts"] == "2"
    return seen


@case(
    "connect black-holed",
    given="the queue of the upstream's port is full and nobody accepts",
    client=TOO_LATE,
    metrics=(attempts("timeout", 1),),
    ledger=RELEASED,
    within_s=1.2,
    quick=True,
)
async def swallowed(scene: Scene) -> Seen:
    await scene.proxy.swallow()
    seen = await scene.stream()
    assert seen.took_s >= 0.45, "the connect timeout is 0.5 s"
    return seen


@case(
    "DNS failure",
    given="the upstream's name does not exist",
    client=UNREACHABLE,
    metrics=(attempts("connect", **TRIED),),
    ledger=RELEASED,
    within_s=5,
    upstream={"base_url": "http://nonexistent.invalid/v1", "timeouts": {"connect_s": 2}},
)
async def no_such_name(scene: Scene) -> Seen:
    return await scene.stream()


@case(
    "slow DNS",
    given="the name server takes 2 s, four times the connect timeout; other calls go on at the same worker",
    client=TOO_LATE,
    metrics=(attempts("timeout", 1),),
    ledger=RELEASED,
    within_s=1.2,
    upstream={"base_url": "http://upstream.slow.test/v1"},
)
async def slow_name(scene: Scene) -> Seen:
    call = asyncio.create_task(scene.stream())
    slowest = 0.0
    line = await scene.line()
    while not call.done():
        began = time.monotonic()
        await line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await line.until(b'{"status":"ok"}')
        line.forget()
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.005)
    line.leave()
    assert slowest < LOOP_FREE_S, f"the loop was blocked for {slowest * 1000:.0f} ms"
    return await call


CROWD = 40


@case(
    "slow DNS, a crowd",
    given=f"{CROWD} calls at once find the name server of their first upstream slow; their spare has a name, "
    "too, and is reached as soon as the connect timeout (0.5 s) of the first is over. Took: the slowest",
    client=Answered(),
    metrics=(attempts("timeout", CROWD),),
    ledger=Ledger({"exact": CROWD}, "upstream"),
    requests={("200", "none"): CROWD},
    within_s=1.5,
    upstream={"base_url": "http://crowded.slow.test/v1"},
    spare=True,
)
async def slow_name_for_many(scene: Scene) -> Seen:
    answers = await asyncio.gather(*(scene.stream() for _ in range(CROWD)))
    for answer in answers:
        Answered().check(answer)
    return max(answers, key=lambda answer: answer.took_s)


@case(
    "TLS good",
    given="the upstream's certificate is as it should be: the cases below fail for their reasons only",
    client=Answered(),
    metrics=(attempts("committed", 1),),
    ledger=EXACT,
    within_s=1,
    tls="good",
)
async def trusted(scene: Scene) -> Seen:
    return await scene.stream()


async def _distrusted(scene: Scene) -> Seen:
    seen = await scene.stream()
    assert scene.proxy.requested == 0, "the request left, credential and all"
    return seen


@case(
    "TLS expired",
    given="the upstream's certificate ended yesterday",
    client=UNREACHABLE,
    metrics=(attempts("connect", **TRIED),),
    ledger=RELEASED,
    within_s=3,
    tls="expired",
)
async def expired(scene: Scene) -> Seen:
    return await _distrusted(scene)


@case(
    "TLS wrong name",
    given="the upstream's certificate is for another name",
    client=UNREACHABLE,
    metrics=(attempts("connect", **TRIED),),
    ledger=RELEASED,
    within_s=3,
    tls="wrong name",
)
async def misnamed(scene: Scene) -> Seen:
    return await _distrusted(scene)


@case(
    "TLS self-signed",
    given="nobody we trust vouches for the upstream's certificate",
    client=UNREACHABLE,
    metrics=(attempts("connect", **TRIED),),
    ledger=RELEASED,
    within_s=3,
    tls="self-signed",
    quick=True,
)
async def self_signed(scene: Scene) -> Seen:
    return await _distrusted(scene)


@case(
    "reset after the request was sent",
    given="the upstream resets each connection as soon as a request has come",
    client=UNREACHABLE,
    metrics=(attempts("connect", **TRIED),),
    ledger=RELEASED,
    within_s=3,
    quick=True,
)
async def reset(scene: Scene) -> Seen:
    scene.proxy.fault = Fault(reset_on_request=True)
    return await scene.stream()


@case(
    "stale keep-alive",
    given="the upstream closes a kept connection just as the next request comes",
    client=Answered(),
    metrics=(attempts("committed", 2),),
    ledger=Ledger({"exact": 2}, "upstream"),
    requests={("200", "none"): 2},
    within_s=0.5,
    quick=True,
)
async def stale(scene: Scene) -> Seen:
    await scene.stream()
    scene.proxy.spoil(Fault(drop_request=True))
    scene.proxy.fault = Fault()
    seen = await scene.stream()
    assert scene.proxy.connections == 2, "the second request went out once more, on a fresh connection"
    assert seen.headers["x-tunegate-attempts"] == "1"
    return seen


@case(
    "half-open peer",
    given="the upstream's host has vanished without a word, a kept connection still stands",
    client=TOO_LATE,
    metrics=(attempts("committed", 1), attempts("timeout", 1)),
    ledger=Ledger({"exact": 1, "released": 1}),
    requests={("200", "none"): 1, ("504", "upstream_timeout"): 1},
    within_s=1.8,
)
async def vanished(scene: Scene) -> Seen:
    await scene.stream()
    scene.proxy.spoil(Fault(void=True))
    seen = await scene.stream()
    assert seen.took_s >= 0.95, "the first token is awaited for 1 s"
    return seen


@case(
    "connection delayed by 200 ms",
    given="each piece takes 200 ms on its way, in both directions",
    client=Answered(),
    metrics=(attempts("committed", 1),),
    ledger=EXACT,
    within_s=2,
    upstream={"timeouts": {"first_token_s": 3}},
)
async def delayed(scene: Scene) -> Seen:
    scene.proxy.fault = Fault(delay_s=0.2)
    return await scene.stream()
