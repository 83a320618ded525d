"""Status 200, and no answer: fallback is allowed, and a client never sees a broken success."""

from __future__ import annotations

import gzip
import json

from tests.chaos.matrix_cases.refusals import error
from tests.chaos.matrix_kit.case import EXACT, RELEASED, Answered, Refused, attempts, case
from tests.chaos.matrix_kit.client import Seen
from tests.chaos.matrix_kit.stage import Scene
from tests.support.fake_upstream import done, event, finish, role, text
from tests.support.fault_proxy import Ending, Fault

NO_ANSWER = Refused(502, "upstream_error")
HTML = b"<!doctype html><html><body>Welcome to nginx!</body></html>"
TRIED = attempts("bad_response", 3)
WITHIN_S = 3.0


def _always(scene: Scene, *steps: bytes, content_type: str) -> None:
    for _ in range(3):
        scene.upstream.plays(scene.model, *steps, content_type=content_type)


@case(
    "200 with HTML",
    given="a login page or a proxy's welcome stands where the stream should be",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def html(scene: Scene) -> Seen:
    _always(scene, HTML, content_type="text/html")
    seen = await scene.stream()
    assert b"nginx" not in seen.body
    return seen


@case(
    "200 with HTML, JSON wanted",
    given="the same where a JSON reply was asked for, and a spare",
    client=Answered(),
    metrics=(attempts("bad_response", 1),),
    ledger=EXACT,
    within_s=0.5,
    spare=True,
    quick=True,
)
async def html_for_json(scene: Scene) -> Seen:
    _always(scene, HTML, content_type="text/html")
    seen = await scene.ask()
    assert seen.headers["x-tunegate-fallback"] == "bad_response"
    return seen


@case(
    "200 empty",
    given="a stream without a single event",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def empty(scene: Scene) -> Seen:
    _always(scene, content_type="text/event-stream")
    return await scene.stream()


@case(
    "200 empty, JSON wanted",
    given="a JSON reply of no bytes",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def empty_json(scene: Scene) -> Seen:
    _always(scene, content_type="application/json")
    return await scene.ask()


@case(
    "200 with [DONE] only",
    given="a stream that ends well and says nothing",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def only_done(scene: Scene) -> Seen:
    _always(scene, done(), content_type="text/event-stream")
    return await scene.stream()


@case(
    "error as first event",
    given="the stream begins with an error: nothing has left yet, so a spare serves",
    client=Answered(),
    metrics=(attempts("bad_response", 1),),
    ledger=EXACT,
    within_s=0.5,
    spare=True,
    quick=True,
)
async def error_first(scene: Scene) -> Seen:
    _always(scene, role(), event(error(None, "server_error")), content_type="text/event-stream")
    return await scene.stream()


@case(
    "error as first event, no spare",
    given="the same at the only upstream: a real HTTP error, without the upstream's words",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def error_first_alone(scene: Scene) -> Seen:
    said = error(None, "server_error", "CUDA out of memory on node 7")
    _always(scene, event(said), content_type="text/event-stream")
    seen = await scene.stream()
    assert b"CUDA" not in seen.body
    return seen


@case(
    "JSON body for a stream",
    given="an upstream that ignores `stream`",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def document(scene: Scene) -> Seen:
    _always(scene, json.dumps({"choices": []}).encode(), content_type="application/json")
    return await scene.stream()


@case(
    "200 with an error inside, JSON wanted",
    given="a relay that wraps its errors into 200",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def error_in_json(scene: Scene) -> Seen:
    _always(scene, json.dumps(error(None, "server_error")).encode(), content_type="application/json")
    return await scene.ask()


def _gzipped(scene: Scene, body: bytes, content_type: str) -> None:
    headers = {"content-encoding": "gzip", "content-type": content_type}
    for _ in range(3):
        scene.upstream.answers(scene.model, gzip.compress(body), headers=headers)


@case(
    "gzip despite identity",
    given="a stream that comes compressed although `accept-encoding: identity` was sent",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def gzipped(scene: Scene) -> Seen:
    _gzipped(scene, text("Hello") + finish() + done(), "text/event-stream")
    seen = await scene.stream()
    assert scene.upstream.calls[0].headers["accept-encoding"] == "identity"
    return seen


@case(
    "gzip despite identity, JSON wanted",
    given="the same with a JSON reply",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def gzipped_json(scene: Scene) -> Seen:
    _gzipped(scene, b'{"choices":[]}', "application/json")
    return await scene.ask()


@case(
    "connection cut within the head",
    given="the upstream closes after 20 bytes of its answer",
    client=NO_ANSWER,
    metrics=(attempts("connect", 3),),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def cut_head(scene: Scene) -> Seen:
    return await _cut(scene, 20)


@case(
    "connection cut within a JSON reply",
    given="the upstream closes after its head and some bytes of body",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def cut_body(scene: Scene) -> Seen:
    return await _cut(scene, 200)


@case(
    "reset within a JSON reply",
    given="the upstream resets after its head and some bytes of body",
    client=NO_ANSWER,
    metrics=(TRIED,),
    ledger=RELEASED,
    within_s=WITHIN_S,
)
async def reset_body(scene: Scene) -> Seen:
    return await _cut(scene, 200, "reset")


@case(
    "stall within a JSON reply",
    given="the upstream falls silent after its head and some bytes of body, for longer than `idle_s`",
    client=Refused(504, "upstream_timeout"),
    metrics=(attempts("timeout", 1),),
    ledger=RELEASED,
    within_s=1.8,
)
async def stalled_body(scene: Scene) -> Seen:
    return await _cut(scene, 200, "stall")


async def _cut(scene: Scene, after: int, ending: Ending = "close") -> Seen:
    scene.proxy.fault = Fault(cut_after=after, ending=ending)
    return await scene.ask()
