"""An upstream that refuses: for now, for ever, for its own reasons, or for the caller's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tests.chaos.matrix_kit.case import EXACT, RELEASED, Answered, Ledger, Refused, attempts, case
from tests.chaos.matrix_kit.client import Seen
from tests.chaos.matrix_kit.stage import Scene
from tests.support.fake_upstream import stall

FT = "ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123"


def error(code: str | None, kind: str = "invalid_request_error", message: str = "No.") -> dict[str, Any]:
    """An error body in the official shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _limited(scene: Scene, wait: str) -> None:
    body = error("rate_limit_exceeded", "requests", "Rate limit reached for requests.")
    scene.upstream.answers(scene.model, body, 429, {"retry-after": wait})


@case(
    "429 with Retry-After",
    given="the only upstream asks to come back in 1 s",
    client=Answered(),
    metrics=(attempts("rate_limited", 1), attempts("committed", 1)),
    ledger=EXACT,
    within_s=2,
)
async def limited(scene: Scene) -> Seen:
    _limited(scene, "1")
    seen = await scene.stream()
    assert seen.took_s >= 1, "it did not wait as long as it was asked to"
    return seen


@case(
    "429 with a long Retry-After",
    given="the only upstream asks to come back in 60 s: longer than a call waits",
    client=Refused(429, "rate_limit_exceeded", {"retry-after": "60"}),
    metrics=(attempts("rate_limited", 1),),
    ledger=RELEASED,
    within_s=0.5,
    quick=True,
)
async def limited_for_long(scene: Scene) -> Seen:
    _limited(scene, "60")
    return await scene.stream()


@case(
    "429 with a spare",
    given="the first upstream asks to come back in 5 s; the next call must not bother it either",
    client=Answered(),
    metrics=(attempts("rate_limited", 1),),
    ledger=Ledger({"exact": 2}),
    requests={("200", "none"): 2},
    within_s=0.5,
    spare=True,
    quick=True,
)
async def limited_with_a_spare(scene: Scene) -> Seen:
    _limited(scene, "5")
    first = await scene.stream()
    assert first.headers["x-tunegate-fallback"] == "rate_limited"
    seen = await scene.stream()
    assert scene.calls() == 1, "it cools down"
    return seen


@case(
    "429 insufficient_quota",
    given="the account of the upstream's only credential is spent",
    client=Refused(502, "upstream_error"),
    metrics=(attempts("credential", 1),),
    ledger=RELEASED,
    within_s=0.5,
    quick=True,
)
async def spent(scene: Scene) -> Seen:
    scene.upstream.answers(scene.model, error("insufficient_quota", "insufficient_quota"), 429)
    seen = await scene.stream()
    assert scene.calls() == 1, "never again with this credential"
    return seen


@case(
    "429 too large",
    given="the request alone is over the upstream's limit: waiting does not help",
    client=Refused(429, "rate_limit_exceeded"),
    metrics=(attempts("rate_limited", 1),),
    ledger=RELEASED,
    within_s=0.5,
)
async def too_large(scene: Scene) -> Seen:
    message = (
        "Request too large for gpt-x in organization org-1 on tokens per min (TPM): Limit 1, Requested 9."
    )
    scene.upstream.answers(scene.model, error("rate_limit_exceeded", "tokens", message), 429)
    seen = await scene.stream()
    assert scene.calls() == 1
    return seen


@case(
    "429 loading",
    given="the cold fine-tuned model is still being loaded, for two attempts",
    client=Answered(),
    metrics=(attempts("committed", 1), attempts("rate_limited", 2)),
    ledger=EXACT,
    within_s=4,
    model=FT,
    upstream={"timeouts": {"first_token_s": 5}},
)
async def loading(scene: Scene) -> Seen:
    for _ in range(2):
        message = "The model is still being loaded. Please try again later."
        scene.upstream.answers(scene.model, error(None, "rate_limit_error", message), 429)
    seen = await scene.stream()
    assert seen.headers["x-tunegate-fallback"] == "none"
    return seen


@case(
    "one 5xx",
    given="the upstream answers 500 once",
    client=Answered(),
    metrics=(attempts("server_error", 1), attempts("committed", 1)),
    ledger=EXACT,
    within_s=1,
    quick=True,
)
async def one_failure(scene: Scene) -> Seen:
    scene.upstream.answers(scene.model, error(None, "server_error"), 500)
    return await scene.stream()


@case(
    "burst of 5xx",
    given="the upstream answers 500, 502, 503 and so on, until its breaker opens; then it is repaired. "
    "Took: until it serves again, by a client that comes back when it is told to",
    client=Answered(),
    metrics=(attempts("server_error", 5), attempts("committed", 1)),
    ledger=Ledger({"released": 3, "exact": 1}),
    requests={("502", "upstream_error"): 2, ("503", "no_upstream"): 1, ("200", "none"): 1},
    within_s=8,
)
async def burst(scene: Scene) -> Seen:
    for status in (500, 502, 503, 529, 500):
        scene.upstream.answers(scene.model, error(None, "server_error"), status)
    for _ in range(2):
        assert (await scene.stream()).status == 502
    refused = await scene.stream()
    Refused(503, "no_upstream", {"retry-after": None}).check(refused)
    assert refused.took_s < 0.1, "a refusal costs no time"
    assert scene.calls() == 5, "the call during which it opened did not try again"
    await asyncio.sleep(float(refused.headers["retry-after"]))
    assert scene.calls() == 5, "it rests"
    seen = await scene.stream()
    return replace(seen, took_s=seen.took_s + float(refused.headers["retry-after"]))


@case(
    "401 from upstream",
    given="the upstream does not know our only credential",
    client=Refused(502, "upstream_error"),
    metrics=(attempts("credential", 1),),
    ledger=RELEASED,
    within_s=0.5,
    quick=True,
)
async def unknown_credential(scene: Scene) -> Seen:
    scene.upstream.answers(scene.model, error("invalid_api_key"), 401)
    seen = await scene.stream()
    assert b"sk-one" not in seen.body
    return seen


@case(
    "401 from upstream, two credentials",
    given="the upstream does not know our first credential; it is set aside and the second one serves",
    client=Answered(),
    metrics=(attempts("credential", 1), attempts("committed", 3)),
    ledger=Ledger({"exact": 3}),
    requests={("200", "none"): 3},
    within_s=0.5,
    upstream={"api_keys": ["sk-one", "sk-two"]},
)
async def next_credential(scene: Scene) -> Seen:
    scene.upstream.answers(scene.model, error("invalid_api_key"), 401)
    for _ in range(2):
        await scene.stream()
    seen = await scene.stream()
    used = [call.headers["authorization"] for call in scene.upstream.calls_of(scene.model)]
    assert len(set(used[1:])) == 1, "the refused one rests"
    assert used[0] != used[1]
    return seen


@case(
    "400 context length",
    given="the prompt is too long for the model: the caller's own mistake",
    client=Refused(400, "context_length_exceeded"),
    metrics=(attempts("rejected", 1),),
    ledger=RELEASED,
    within_s=0.5,
    spare=True,
    quick=True,
)
async def too_long(scene: Scene) -> Seen:
    said = error("context_length_exceeded", message="This model's maximum context length is 8 tokens.")
    scene.upstream.answers(scene.model, said, 400)
    seen = await scene.stream()
    assert seen.error == said["error"], "the upstream's own words"
    assert scene.spare is not None
    assert not scene.spare.says.calls, "no other upstream is asked"
    return seen


@case(
    "404 ft model gone",
    given="the fine-tuned model was deleted; called twice",
    client=Refused(404, "model_not_found"),
    metrics=(attempts("model_not_found", 1),),
    ledger=Ledger({"released": 2}),
    requests={("404", "model_not_found"): 2},
    within_s=0.5,
    model="ft:gpt-4.1-mini-2025-04-14:acme:support:Gone01",
    quick=True,
)
async def gone(scene: Scene) -> Seen:
    scene.upstream.answers(scene.model, error("model_not_found"), 404)
    await scene.stream()
    seen = await scene.stream()
    assert scene.calls() == 1, "it is not asked for again and again"
    return seen


@case(
    "404 ft model gone, base serves",
    given="the fine-tuned model was deleted; its base stands behind it, at the same upstream",
    client=Answered(),
    metrics=(attempts("model_not_found", 1), attempts("committed", 2)),
    ledger=Ledger({"exact": 2}),
    requests={("200", "none"): 2},
    within_s=0.5,
    model="ft:gpt-4.1-mini-2025-04-14:acme:support:Gone02",
    upstream={"models": ["gpt-4.1-mini-2025-04-14"]},
    alias={"fallbacks": ["base"]},
)
async def gone_but_its_base(scene: Scene) -> Seen:
    scene.upstream.answers(scene.model, error("model_not_found"), 404)
    first = await scene.stream()
    assert first.headers["x-tunegate-fallback"] == "model_not_found"
    seen = await scene.stream()
    assert seen.headers["x-tunegate-fallback"] == "model_gone"
    assert seen.headers["x-tunegate-model"] == "gpt-4.1-mini-2025-04-14"
    return seen


@case(
    "30x",
    given="the upstream redirects elsewhere: never followed, the request holds a credential",
    client=Refused(502, "upstream_error"),
    metrics=(attempts("bad_response", 3),),
    ledger=RELEASED,
    within_s=3,
)
async def redirected(scene: Scene) -> Seen:
    for status in (302, 307, 308):
        scene.upstream.answers(scene.model, b"", status, {"location": f"{scene.upstream.url}/elsewhere"})
    seen = await scene.stream()
    assert {call.path for call in scene.upstream.calls} == {"/v1/chat/completions"}
    return seen


@case(
    "first token too late",
    given="the upstream accepts the call and says nothing",
    client=Refused(504, "upstream_timeout"),
    metrics=(attempts("timeout", 1),),
    ledger=RELEASED,
    within_s=1.8,
)
async def silent(scene: Scene) -> Seen:
    scene.upstream.plays(scene.model, stall())
    seen = await scene.stream()
    assert scene.calls() == 1, "never at the same target again"
    return seen
