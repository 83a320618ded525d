"""Doubles of endpoints that speak the official API: a relay with odd habits, and Azure with its refusals."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from tests.support.azure import AzureDouble, prompt_frame
from tests.support.conformance import words
from tests.support.fake_upstream import (
    FakeUpstream,
    ReceivedCall,
    Step,
    _Script,
    chunk,
    done,
    drop,
    event,
    finish,
    role,
    stall,
    text,
)

DEADLINE_S = 10
COUNTS = {
    "prompt_tokens": words.PROMPT_TOKENS,
    "completion_tokens": words.COMPLETION_TOKENS,
    "total_tokens": words.PROMPT_TOKENS + words.COMPLETION_TOKENS,
    "prompt_tokens_details": {"cached_tokens": words.CACHED_TOKENS},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
_REFUSALS = {
    "busy": (429, "Rate limit reached.", "requests", "rate_limit_exceeded"),
    "denied": (401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "unknown": (404, "The model does not exist.", "invalid_request_error", "model_not_found"),
    "long": (400, "Too many tokens.", "invalid_request_error", "context_length_exceeded"),
    "broken": (500, "The server had an error.", "server_error", None),
}


class Relay(FakeUpstream):
    """A compatible endpoint: plain, and in the scenario "odd" with every habit that relays have."""

    def _script_for(self, call: ReceivedCall) -> _Script:
        if call.headers.get("authorization") != f"Bearer {words.KEY}":
            return _refusal("denied")
        return script(words.scenario_of(call.json["model"]), call.json)


class Azure(AzureDouble):
    """An Azure resource with a deployment for each scenario."""

    def __init__(self) -> None:
        super().__init__({f"dep-{scenario}": "gpt-4.1-mini" for scenario in words.SCENARIOS})

    def _answer_of(self, deployment: str, _route: str, asked: dict[str, Any]) -> _Script:
        scenario = words.scenario_of(deployment)
        if scenario == "unknown":
            error = {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}
            return _Script(404, {"content-type": "application/json"}, (_json({"error": error}),))
        return script(scenario, asked, (prompt_frame(),))


def script(scenario: str, asked: dict[str, Any], prelude: tuple[bytes, ...] = ()) -> _Script:
    """The answer to one call; `prelude` comes first of a stream."""
    if scenario in _REFUSALS:
        return _refusal(scenario)
    if scenario == "silent":
        kind = "text/event-stream" if asked.get("stream") else "application/json"
        return _Script(200, {"content-type": kind}, (stall(),))
    if not asked.get("stream"):
        return _Script(200, {"content-type": "application/json"}, (_json(_reply(asked)),))
    steps: tuple[Step, ...] = (*prelude, *(_odd() if scenario == "odd" else _stream(scenario, asked)))
    return _Script(200, {"content-type": "text/event-stream"}, steps)


def _refusal(scenario: str) -> _Script:
    status, message, kind, code = _REFUSALS[scenario]
    headers = {"content-type": "application/json"}
    if status == 429:
        headers["retry-after"] = str(words.WAIT_S)
    error = {"message": message, "type": kind, "param": None, "code": code}
    return _Script(status, headers, (_json({"error": error}),))


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _call() -> dict[str, Any]:
    return {
        "id": "call_1",
        "type": "function",
        "function": {"name": words.TOOL, "arguments": json.dumps(words.ARGUMENTS)},
    }


def _reply(asked: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": words.TEXT, "refusal": None}
    reason = "stop"
    if asked.get("tools"):
        message |= {"content": None, "tool_calls": [_call()]}
        reason = "tool_calls"
    return {
        "id": "chatcmpl-double",
        "object": "chat.completion",
        "created": 1,
        "model": "double",
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        "usage": COUNTS,
    }


def _stream(scenario: str, asked: dict[str, Any]) -> Iterator[Step]:
    if asked.get("tools"):
        opening = _call()
        arguments = opening["function"].pop("arguments")
        yield role()
        yield chunk({"tool_calls": [{"index": 0, **opening}]})
        yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]})
        yield finish("tool_calls")
    else:
        yield role()
        for number, word in enumerate(words.WORDS):
            if number == 2 and scenario in {"hangs", "cut", "short", "fails"}:
                yield from _stops(scenario)
                return
            yield text(word)
        yield finish()
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield chunk({}, choices=[], usage=COUNTS)
    yield done()


def _stops(scenario: str) -> Iterator[Step]:
    """What happens after two words."""
    if scenario == "hangs":
        yield stall()
    elif scenario == "cut":
        yield drop()
    elif scenario == "fails":
        yield event({"error": {"message": "Overloaded", "type": "server_error", "code": 503}})


def _odd() -> Iterator[bytes]:
    """What relays were seen to send: comments, pings without data, CRLF, counts everywhere, no `[DONE]`."""
    yield b": OPENROUTER PROCESSING\r\n\r\n"
    yield b"event: ping\n\n" + b"data:\n\n" + b"id: 1\nretry: 5\n\n"
    yield role().replace(b"\n", b"\r\n")
    for number, word in enumerate(words.WORDS):
        so_far = {**COUNTS, "completion_tokens": number}
        yield chunk({"content": word, "role": "assistant"}, usage=so_far).replace(b"data: ", b"data:")
    yield chunk({}, "stop", usage=COUNTS).removesuffix(b"\n\n")
    yield b"\r\r"


@contextmanager
def in_thread(upstream: FakeUpstream) -> Iterator[FakeUpstream]:
    """Serve it in a thread with a loop of its own, until the block ends."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        server = await upstream.start()
        started.set_result((asyncio.get_running_loop(), over))
        await over.wait()
        await upstream.stop(server)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    loop, over = started.result(DEADLINE_S)
    try:
        yield upstream
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(DEADLINE_S)
