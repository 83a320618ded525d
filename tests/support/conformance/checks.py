"""The checks, through a whole gateway: by the official SDK where that speaks, by bytes where they count."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.e2e.gateway_process import GatewayProcess, wait_until
from tests.support.conformance import words
from tests.support.conformance.subjects import Subject

CLOSED_WITHIN_S = 1.0
_BLANK = re.compile(r"\r\n\r\n|\n\n|\r\r")
_ONE_LINE = re.compile(r"data: ?\{[^\r\n]*\}")
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": words.TOOL,
            "description": "Look an order up.",
            "parameters": {
                "type": "object",
                "properties": {"order": {"type": "string"}},
                "required": ["order"],
            },
        },
    }
]
_ERRORS = {
    "busy": (429, "rate_limit_exceeded"),
    "denied": (502, "upstream_error"),
    "unknown": (404, "model_not_found"),
    "long": (400, None),
    "broken": (502, "upstream_error"),
}
_OWN_CODES = {"demo", "adapter"}
"""Kinds whose errors have no code of the official API: the demo's come from a status alone."""


class Bench:
    """A running gateway with a key, and a plain client of it."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self.key = gateway.new_key()
        self._headers = {"authorization": f"Bearer {self.key}"}
        self.http = httpx2.Client(
            base_url=gateway.base_url, headers=self._headers, timeout=30, trust_env=False
        )

    def ask(self, body: Mapping[str, Any]) -> httpx2.Response:
        return self.http.post("chat/completions", json=body)

    @contextmanager
    def streamed(self, body: Mapping[str, Any]) -> Iterator[httpx2.Response]:
        with self.http.stream("POST", "chat/completions", json={**body, "stream": True}) as response:
            yield response

    def stream(self, body: Mapping[str, Any]) -> Stream:
        with self.streamed(body) as response:
            return Stream(response.read())

    def record(self, request_id: str) -> dict[str, Any]:
        """The ledger's record of one request."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            events = self.gateway.admin("GET", "/admin/v1/usage/events?limit=1000")["data"]
            found[:] = [each for each in events if each["request_id"] == request_id]
            return bool(found)

        wait_until(look, "the ledger's record")
        return found[0]

    def in_flight(self, upstream: str) -> int:
        rows = self.gateway.admin("GET", "/admin/v1/upstreams?limit=1000")["data"]
        return next(int(row["in_flight"]) for row in rows if row["name"] == upstream)


class Stream:
    """The bytes of a stream, held to what the official SDKs can read."""

    def __init__(self, content: bytes) -> None:
        *frames, rest = _BLANK.split(content.decode())
        assert rest == "", content
        self.is_done = frames[-1] == "data: [DONE]"
        shown = [frame for frame in frames[: -1 if self.is_done else None] if not frame.startswith(":")]
        assert all(_ONE_LINE.fullmatch(frame) for frame in shown), content
        self.events = [json.loads(frame.removeprefix("data:")) for frame in shown]

    @property
    def error(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.events[-1].get("error")
        return found

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [event for event in self.events if "error" not in event]

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for event in self.chunks for choice in event["choices"]]

    @property
    def text(self) -> str:
        return "".join(choice["delta"].get("content") or "" for choice in self.choices)

    @property
    def finish(self) -> list[str]:
        return [choice["finish_reason"] for choice in self.choices if choice["finish_reason"]]

    @property
    def counts(self) -> list[dict[str, Any]]:
        return [event["usage"] for event in self.chunks if event.get("usage")]


def check_json(subject: Subject, bench: Bench) -> None:
    response = bench.ask(subject.body("answer", max_tokens=40))
    assert response.status_code == 200, response.text
    reply = response.json()
    [choice] = reply["choices"]
    assert reply["object"] == "chat.completion"
    assert isinstance(reply["id"], str)
    assert isinstance(reply["model"], str)
    assert choice["index"] == 0
    assert choice["finish_reason"] in {"stop", "length"}
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    if subject.text is not None:
        assert choice["message"]["content"] == subject.text
    assert response.headers["x-tunegate-model"] == subject.models["answer"]
    assert response.headers["x-tunegate-upstream"] == subject.alias("answer")
    record = bench.record(response.headers["x-request-id"])
    assert (record["model"], record["upstream"]) == (subject.models["answer"], subject.alias("answer"))
    assert (record["state"], record["usage_source"]) == ("exact", "upstream")


def check_stream(subject: Subject, bench: Bench) -> None:
    body = subject.body("answer", max_tokens=40)
    told = bench.ask(body).json()["choices"][0]
    stream = bench.stream(body)
    assert stream.is_done
    assert stream.error is None
    assert stream.text == told["message"]["content"]
    assert stream.finish == [told["finish_reason"]]
    assert {event["object"] for event in stream.chunks if event.get("object")} == {"chat.completion.chunk"}
    assert len({event["id"] for event in stream.chunks if event.get("id")}) == 1
    assert stream.choices[0]["delta"].get("role") == "assistant"
    with bench.gateway.sdk(bench.key) as sdk:
        events = list(sdk.chat.completions.create(**body, stream=True))
    assert "".join(each.choices[0].delta.content or "" for each in events if each.choices) == stream.text


def check_tools(subject: Subject, bench: Bench) -> None:
    body = subject.body("answer", tools=_TOOLS, tool_choice="required")
    with bench.gateway.sdk(bench.key) as sdk:
        reply = sdk.chat.completions.create(**body)
        events = list(sdk.chat.completions.create(**body, stream=True))
    [choice] = reply.choices
    assert choice.finish_reason in {"tool_calls", "stop"}
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name, bool(call.id)) == ("function", words.TOOL, True)
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"order"}
    assert subject.arguments in (None, arguments)
    parts = [part for each in events if each.choices for part in each.choices[0].delta.tool_calls or ()]
    assert parts[0].function.name == words.TOOL
    assert parts[0].id
    assert {part.index for part in parts} == {0}
    assert json.loads("".join(part.function.arguments or "" for part in parts)) == arguments


def check_usage(subject: Subject, bench: Bench) -> None:
    body = subject.body("answer", max_tokens=40)
    response = bench.ask(body)
    counted = response.json()["usage"]
    assert counted["prompt_tokens"] + counted["completion_tokens"] == counted["total_tokens"]
    assert counted["prompt_tokens"] > 0
    assert counted["completion_tokens"] > 0
    asked = bench.stream({**body, "stream_options": {"include_usage": True}})
    assert asked.chunks[-1]["choices"] == []
    assert {name: asked.counts[-1][name] for name in ("prompt_tokens", "completion_tokens")} == {
        name: counted[name] for name in ("prompt_tokens", "completion_tokens")
    }
    with bench.streamed(body) as silent:
        assert Stream(silent.read()).counts == []
    for request_id in (response.headers["x-request-id"], silent.headers["x-request-id"]):
        record = bench.record(request_id)
        assert record["state"] == "exact"
        assert record["prompt_tokens"] == counted["prompt_tokens"]
        assert record["completion_tokens"] == counted["completion_tokens"]
        if subject.counts is not None:
            assert {name: record[name] or 0 for name in subject.counts} == subject.counts


def check_errors(subject: Subject, bench: Bench) -> None:
    tried = [scenario for scenario in _ERRORS if scenario in subject.models]
    assert tried
    for scenario in tried:
        status, code = _ERRORS[scenario]
        for stream in (False, True):
            response = bench.ask(subject.body(scenario, stream=stream))
            what = f"{scenario}: {response.status_code} {response.text}"
            assert response.status_code == status, what
            error = response.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}, what
            if subject.kind not in _OWN_CODES:
                assert error["code"] == (code or "context_length_exceeded"), what
            if status == 429:
                assert int(response.headers["retry-after"]) >= 1, what
            if scenario == "denied":
                break  # the credential is set aside from here on


def check_cancel(subject: Subject, bench: Bench) -> None:
    with bench.streamed(subject.body("hangs")) as response:
        assert response.status_code == 200, response.read()
        first = next(response.iter_bytes())
        assert b"data: " in first
    _closes(subject, "hangs", bench)
    record = bench.record(response.headers["x-request-id"])
    assert record["state"] == "estimated"


def check_early_leave(subject: Subject, bench: Bench) -> None:
    for stream in (False, True):
        body = subject.body("silent", stream=stream)
        with httpx2.Client(base_url=bench.gateway.base_url, trust_env=False) as client:
            headers = {"authorization": f"Bearer {bench.key}"}
            try:
                client.post(
                    "chat/completions", json=body, headers=headers, timeout=httpx2.Timeout(5, read=0.7)
                )
            except httpx2.ReadTimeout:
                pass
            else:
                raise AssertionError("it answered before its caller could leave")
        _closes(subject, "silent", bench)


def check_odd_frames(subject: Subject, bench: Bench) -> None:
    if "odd" in subject.models:
        stream = bench.stream(subject.body("odd"))
        assert (stream.is_done, stream.error, stream.text) == (True, None, subject.text)
        assert stream.finish == ["stop"]
        with bench.gateway.sdk(bench.key) as sdk:
            events = list(sdk.chat.completions.create(**subject.body("odd"), stream=True))
        assert "".join(each.choices[0].delta.content or "" for each in events if each.choices) == subject.text
    for scenario in ("cut", "short", "fails"):
        if scenario in subject.models:
            stream = bench.stream(subject.body(scenario))
            assert not stream.is_done, scenario
            assert stream.error is not None, scenario
            assert stream.error["type"] == "server_error", scenario
            assert stream.error["code"] in {"upstream_error", "stream_truncated"}, scenario
            assert stream.finish == [], scenario
            if subject.text is not None:
                assert stream.text == "".join(words.WORDS[:2]), scenario


def _closes(subject: Subject, scenario: str, bench: Bench) -> None:
    """The upstream's connection closes in time, as the upstream sees it or else as the gateway says."""
    since = time.monotonic()
    if subject.left is not None:
        wait_until(subject.left, "the upstream's end of the call", within_s=CLOSED_WITHIN_S)
        assert time.monotonic() - since < CLOSED_WITHIN_S
    wait_until(lambda: bench.in_flight(subject.alias(scenario)) == 0, "no call in flight", within_s=5)


RUN: Mapping[str, Callable[[Subject, Bench], None]] = {
    "json": check_json,
    "stream": check_stream,
    "tools": check_tools,
    "usage": check_usage,
    "errors": check_errors,
    "cancel": check_cancel,
    "early leave": check_early_leave,
    "odd frames": check_odd_frames,
}
