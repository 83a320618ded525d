"""Streams that break, stall, lie about their usage or are oddly framed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.chaos.matrix_cases.refusals import error
from tests.chaos.matrix_kit.case import (
    COUNTED,
    EXACT,
    RELEASED,
    Answered,
    Broken,
    Refused,
    attempts,
    case,
)
from tests.chaos.matrix_kit.client import Seen
from tests.chaos.matrix_kit.stage import Scene
from tests.support.fake_upstream import (
    OneByteAtATime,
    done,
    drop,
    event,
    finish,
    role,
    stall,
    text,
    usage,
)
from tests.support.fault_proxy import Fault

COMMITTED = (attempts("committed", 1),)
WITHIN_S = 0.5
MIB = 1 << 20
WHOLE: dict[str, Any] = {"client": Answered(), "metrics": COMMITTED, "ledger": EXACT, "within_s": WITHIN_S}
TRUNCATED: dict[str, Any] = {
    "client": Broken("Hel", "stream_truncated"),
    "metrics": COMMITTED,
    "ledger": COUNTED,
    "within_s": WITHIN_S,
}
FAILED = TRUNCATED | {"client": Broken("Hel", "upstream_error")}


@case("error mid-stream", given="an error event after the first words", **FAILED, quick=True)
async def error_within(scene: Scene) -> Seen:
    said = error(None, "server_error", "CUDA out of memory on node 7")
    scene.upstream.plays(scene.model, role(), text("Hel"), event(said), text("lo"), finish(), done())
    seen = await scene.stream()
    assert b"CUDA" not in seen.body
    return seen


@case("EOF without finish", given="the body ends in good order, the answer does not", **TRUNCATED, quick=True)
async def ends_early(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hel"))
    return await scene.stream()


@case("[DONE] without finish", given="no finish reason, but the end is said", **WHOLE)
async def done_early(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hello"), usage(), done())
    return await scene.stream()


@case("no [DONE]", given="a finish reason and a good end, and nobody says so: the gateway does", **WHOLE)
async def no_done(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hello"), finish(), usage())
    return await scene.stream()


@case("reset mid-stream", given="the connection is reset after the first words", **TRUNCATED, quick=True)
async def reset_within(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hel"), drop())
    return await scene.stream()


@case("half-close mid-stream", given="the upstream ends its side in the middle of the body", **TRUNCATED)
async def half_closed_within(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hel"), stall())
    scene.proxy.fault = Fault(cut_behind=text("Hel"), ending="half-close")
    return await scene.stream()


@case("raw JSON error tail", given="an error object without `data:` behind the first words", **FAILED)
async def raw_tail(scene: Scene) -> Seen:
    tail = json.dumps(error(None, "server_error")).encode()
    scene.upstream.plays(scene.model, role(), text("Hel"), tail)
    return await scene.stream()


@case(
    "stall mid-stream",
    given="the upstream falls silent after the first words, for longer than `idle_s`",
    client=Broken("Hel", "stream_stalled"),
    metrics=COMMITTED,
    ledger=COUNTED,
    within_s=1.8,
)
async def stalls(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hel"), stall())
    seen = await scene.stream()
    assert seen.took_s >= 0.95, "it may be silent for 1 s"
    await scene.upstream.calls_of(scene.model)[0].closed.wait()
    return seen


@case(
    "no usage",
    given="a complete stream that states no usage",
    **(WHOLE | {"ledger": COUNTED}),
    quick=True,
)
async def no_usage(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, role(), text("Hel"), text("lo"), finish(), done())
    seen = await scene.stream()
    record = await scene.record()
    assert (record.prompt_tokens or 0) > 0
    assert (record.completion_tokens or 0) > 0
    assert (record.cost_nanousd or 0) > 0
    return seen


async def _with_usage(scene: Scene, *stated: bytes) -> tuple[Seen, tuple[int | None, int | None, int | None]]:
    scene.upstream.plays(scene.model, role(), text("Hello"), finish(), *stated, done())
    seen = await scene.stream()
    record = await scene.record()
    return seen, (record.prompt_tokens, record.completion_tokens, record.cost_nanousd)


@case("usage x10", given="ten times what was used is stated: it is what the upstream bills", **WHOLE)
async def usage_times_ten(scene: Scene) -> Seen:
    seen, booked = await _with_usage(scene, usage(70, 20))
    assert booked == (70, 20, 70 * 1000 + 20 * 2000)
    return seen


@case(
    "usage negative",
    given="a negative count is stated: nobody is paid for being called",
    **(WHOLE | {"ledger": COUNTED}),
)
async def usage_negative(scene: Scene) -> Seen:
    seen, (prompt, completion, cost) = await _with_usage(scene, usage(-5, -1))
    assert (prompt or 0) > 0
    assert (completion or 0) > 0
    assert (cost or 0) > 0
    return seen


@case("usage beyond belief", given="10^30 tokens are stated", **(WHOLE | {"ledger": COUNTED}))
async def usage_unbelievable(scene: Scene) -> Seen:
    seen, (_, completion, _) = await _with_usage(scene, usage(7, 10**30))
    assert (completion or 0) < 10
    return seen


@case("usage twice", given="usage comes in two chunks: the last one counts, not the sum", **WHOLE)
async def usage_twice(scene: Scene) -> Seen:
    seen, booked = await _with_usage(scene, usage(7, 1), usage(7, 2))
    assert booked == (7, 2, 7 * 1000 + 2 * 2000)
    return seen


SAID = "Hello, wörld, 你好 \U0001f30d"
GLOBE = "\U0001f30d".encode()
PLAIN = role() + text("Hel") + text("lo, @").replace(b"lo, @", SAID[3:].encode()) + finish()
SPOKEN = WHOLE | {"client": Answered(SAID, PLAIN + done())}
REFRAMED = WHOLE | {"client": Answered(SAID)}


@case(
    "one-byte chunks",
    given="every byte comes on its own, also those of the head",
    **(SPOKEN | {"within_s": 3}),
)
async def byte_by_byte(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, OneByteAtATime(), PLAIN, usage(), done())
    scene.proxy.fault = Fault(drip=True)
    return await scene.stream()


@case("split UTF-8", given="a chunk ends inside a character", **SPOKEN, quick=True)
async def split_characters(scene: Scene) -> Seen:
    at = PLAIN.index(GLOBE) + 2
    scene.upstream.plays(scene.model, PLAIN[:at], PLAIN[at:], usage(), done())
    return await scene.stream()


@case("CRLF", given="lines end with CR LF", **REFRAMED)
async def crlf(scene: Scene) -> Seen:
    framed = (PLAIN + usage() + done()).replace(b"\n", b"\r\n")
    scene.upstream.plays(scene.model, framed[:100], framed[100:])
    return _with_plain_lines(await scene.stream())


@case("BOM", given="the stream begins with a byte order mark", **SPOKEN)
async def byte_order_mark(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, b"\xef\xbb\xbf" + PLAIN, usage(), done())
    return await scene.stream()


@case("multi-line data", given="one chunk is spread over several `data:` lines", **REFRAMED)
async def several_lines(scene: Scene) -> Seen:
    first = text("Hel")[len(b"data: ") :].strip()
    pretty = json.dumps(json.loads(first), indent=1).encode()
    framed = b"".join(b"data: " + line + b"\n" for line in pretty.splitlines()) + b"\n"
    scene.upstream.plays(scene.model, role(), framed, PLAIN[len(role() + text("Hel")) :], usage(), done())
    return await scene.stream()


@case(
    "comments and blank lines",
    given="keep-alive comments, `event:` and `id:` lines between the chunks",
    **REFRAMED,
)
async def noise(scene: Scene) -> Seen:
    noisy = b": ping\n\nevent: message\nid: 7\n" + text("Hel") + b"\n\n: ping\n\n"
    scene.upstream.plays(scene.model, role(), noisy, PLAIN[len(role() + text("Hel")) :], usage(), done())
    return await scene.stream()


def _long_line(mib: int) -> list[bytes]:
    return [b'data: {"choices": [], "x": "', *([b"a" * MIB] * mib), b'"}\n\n']


@case("100 MiB line", given="one event of 100 MiB after the first words", **(FAILED | {"within_s": 2}))
async def long_line(scene: Scene) -> Seen:
    before = scene.memory_kib()
    scene.upstream.plays(scene.model, role(), text("Hel"), *_long_line(100))
    seen = await scene.stream()
    grown = scene.memory_kib() - before
    assert grown < 16 * 1024, f"the worker grew by {grown} KiB"
    return seen


@case(
    "100 MiB line, nothing before it",
    given="one event of 100 MiB as the first one, at every attempt",
    client=Refused(502, "upstream_error"),
    metrics=(attempts("bad_response", 3),),
    ledger=RELEASED,
    within_s=4,
)
async def long_first_line(scene: Scene) -> Seen:
    before = scene.memory_kib()
    for _ in range(3):
        scene.upstream.plays(scene.model, *_long_line(100))
    seen = await scene.stream()
    grown = scene.memory_kib() - before
    assert grown < 16 * 1024, f"the worker grew by {grown} KiB"
    return seen


def _with_plain_lines(seen: Seen) -> Seen:
    """CR LF is as good to a client as LF."""
    return replace(seen, body=seen.body.replace(b"\r\n", b"\n"))
