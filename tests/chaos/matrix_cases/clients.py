"""Clients that leave, stop reading, send slowly or send what nobody can read."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from tests.chaos.matrix_kit.case import (
    COUNTED,
    NO_RECORD,
    RELEASED,
    Counted,
    Cut,
    Left,
    Refused,
    attempts,
    case,
)
from tests.chaos.matrix_kit.client import Line, Seen, request_bytes
from tests.chaos.matrix_kit.stage import Scene
from tests.support.fake_upstream import role, stall, text
from tests.support.polling import until

GONE = (attempts("client_left", 1),)
UPSTREAM_CLOSED_S = 1.0
MIB = 1 << 20


def _refused_early(status: int, error_type: str) -> tuple[Counted, ...]:
    """Counted without an alias: nobody has read yet which one was meant. Another case may do it, too."""
    labels = {"alias": "none", "status": str(status), "error_type": error_type}
    return (Counted("tunegate_requests_total", labels, 1, 2),)


async def _upstream_closes(scene: Scene, line: Line) -> Seen:
    """What came, and how long after now the upstream's connection was closed."""
    began = time.monotonic()
    await asyncio.wait_for(scene.upstream.calls_of(scene.model)[0].closed.wait(), 10)
    return replace(line.so_far(), took_s=time.monotonic() - began)


async def _asked(scene: Scene) -> None:
    await until(scene.calls, "the call at the upstream")


@case(
    "client leaves before first token",
    given="the client closes while the upstream is silent. Took: until the upstream's connection is closed",
    client=Left(),
    metrics=GONE,
    ledger=COUNTED,
    within_s=UPSTREAM_CLOSED_S,
    upstream={"timeouts": {"first_token_s": 20}},
    quick=True,
)
async def leaves_early(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), stall())
    line = await scene.line()
    await line.send(scene.request(stream=True))
    await _asked(scene)
    line.leave()
    return await _upstream_closes(scene, line)


@case(
    "client leaves mid-stream",
    given="the client closes after the first words. Took: until the upstream's connection is closed",
    client=Left("Hel", "200"),
    metrics=(attempts("committed", 1),),
    ledger=COUNTED,
    within_s=UPSTREAM_CLOSED_S,
    upstream={"timeouts": {"idle_s": 20}},
    quick=True,
)
async def leaves_within(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hel"), stall())
    line = await scene.line()
    await line.send(scene.request(stream=True))
    await line.until(text("Hel"))
    line.leave()
    return await _upstream_closes(scene, line)


@case(
    "client leaves before a JSON reply",
    given="the client closes while the upstream writes. Took: until the upstream's connection is closed",
    client=Left(),
    metrics=GONE,
    ledger=COUNTED,
    within_s=UPSTREAM_CLOSED_S,
    upstream={"timeouts": {"first_token_s": 20}},
)
async def leaves_a_reply(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, b'{"choices"', stall(), content_type="application/json")
    line = await scene.line()
    await line.send(scene.request())
    await _asked(scene)
    line.leave()
    return await _upstream_closes(scene, line)


@case(
    "half-closed client",
    given="the client ends its side after the request: it counts as gone, as it does for most servers. "
    "Took: until the upstream's connection is closed",
    client=Left("Hel", "200"),
    metrics=(attempts("committed", 1),),
    ledger=COUNTED,
    within_s=UPSTREAM_CLOSED_S,
    upstream={"timeouts": {"idle_s": 20}},
)
async def half_closes(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hel"), stall())
    line = await scene.line()
    await line.send(scene.request(stream=True))
    await line.until(text("Hel"))
    line.half_close()
    return await _upstream_closes(scene, line)


@case(
    "stopped reader",
    given="64 MiB are on their way and the client reads none of it: the upstream is made to wait, and after "
    "`write_stall_s` (1 s here) the call is ended. Took: until the upstream's connection is closed",
    client=Cut(),
    metrics=(attempts("committed", 1),),
    ledger=COUNTED,
    within_s=3,
    requests={("200", "client_left"): 1},
    upstream={"timeouts": {"idle_s": 20}},
)
async def stops_reading(scene: Scene) -> Seen:
    words = b"".join(text("word " * 50) for _ in range(3000))  # about 1 MiB
    scene.upstream.plays(scene.model, role(), *([words] * 64), stall())
    before = scene.memory_kib()
    line = await scene.line(receive_buffer=4096)
    await line.send(scene.request(stream=True))
    await _asked(scene)
    seen = await _upstream_closes(scene, line)
    grown = scene.memory_kib() - before
    line.leave()
    assert seen.took_s >= 0.9, "a client may pause for 1 s"
    assert grown < 8 * 1024, f"the worker grew by {grown} KiB"
    return seen


@case(
    "slow body",
    given="half of the body comes, the rest does not (`body_timeout_s` is 1 s here)",
    client=Refused(408, "request_timeout"),
    metrics=_refused_early(408, "request_timeout"),
    ledger=NO_RECORD,
    within_s=1.5,
    requests={},
    quick=True,
)
async def slow_body(scene: Scene) -> Seen:
    line = await scene.line()
    await line.send(scene.request(stream=True)[:-20])
    return await line.rest()


@case(
    "oversize",
    given="the stated length is over `max_body_bytes`: refused before it is read",
    client=Refused(413, "request_too_large"),
    metrics=_refused_early(413, "request_too_large"),
    ledger=NO_RECORD,
    within_s=0.5,
    requests={},
    quick=True,
)
async def oversize(scene: Scene) -> Seen:
    line = await scene.line()
    head = request_bytes(scene.key, b"", {"Content-Length": "70000"})
    await line.send(head + b"{" + b" " * 1000)
    return await line.rest()


@case(
    "oversize, in chunks",
    given="a chunked body without a stated length grows over `max_body_bytes`",
    client=Refused(413, "request_too_large"),
    metrics=_refused_early(413, "request_too_large"),
    ledger=NO_RECORD,
    within_s=0.5,
    requests={},
)
async def oversize_in_chunks(scene: Scene) -> Seen:
    line = await scene.line()
    head = request_bytes(scene.key, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    await line.send(head + b"12000\r\n" + b" " * 0x12000 + b"\r\n")
    return await line.rest()


@case(
    "two lengths",
    given="two Content-Length headers that differ: one request to us, perhaps another to somebody else",
    client=Refused(400, None),
    metrics=(),
    ledger=NO_RECORD,
    within_s=0.5,
    requests={},
)
async def two_lengths(scene: Scene) -> Seen:
    line = await scene.line()
    body = b"{}"
    request = request_bytes(scene.key, body).replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n", 1)
    await line.send(request)
    return await line.rest()


@case(
    "call's own time limit",
    given="`x-tunegate-timeout-s: 0.3`, and an upstream that is silent",
    client=Refused(504, "upstream_timeout"),
    metrics=(attempts("timeout", 1),),
    ledger=RELEASED,
    within_s=0.8,
    upstream={"timeouts": {"first_token_s": 20}},
)
async def own_limit(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, stall())
    return await scene.stream(headers={"x-tunegate-timeout-s": "0.3"})
