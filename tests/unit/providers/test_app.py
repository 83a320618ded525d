"""The process's door without litellm: answers, streams, errors before and after the first chunk, leaving."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from gateway.providers.app import Answer, ProviderApp
from gateway.providers.call import ProviderCall

CHUNK = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}


class Script:
    """An engine that does what a test says; `closed` tells that its stream, or its wait, was ended."""

    def __init__(self, *steps: Any, answer: Any = None) -> None:
        self._steps = steps
        self._answer = answer
        self.calls: list[ProviderCall] = []
        self.waits = asyncio.Event()
        self.closed = asyncio.Event()

    async def answer(self, call: ProviderCall) -> Answer:
        self.calls.append(call)
        if self._steps:
            return Answer(chunks=self._chunks(), request_id="req_1")
        try:
            return Answer(await self._done(self._answer), request_id="req_1")
        finally:
            self.closed.set()

    async def _chunks(self) -> AsyncGenerator[Mapping[str, Any], None]:
        try:
            for step in self._steps:
                yield await self._done(step)
        finally:
            self.closed.set()

    async def _done(self, step: Any) -> Any:
        if isinstance(step, Exception):
            raise step
        if step is ...:
            self.waits.set()
            await asyncio.Event().wait()
        return step


class Client:
    """One request to the application."""

    def __init__(self, body: Any, path: str = "/v1/chat/completions", method: str = "POST") -> None:
        self._body = json.dumps(body).encode()
        self._sent = False
        self.scope = {
            "method": method,
            "path": path,
            "headers": [(b"authorization", b"Bearer sk-1")],
        }
        self.leaves = asyncio.Event()
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.ended = False

    async def receive(self) -> dict[str, Any]:
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": self._body}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message["body"]
            self.ended = not message["more_body"]

    @property
    def events(self) -> list[Any]:
        parts = self.body.decode().removesuffix("\n\n").split("\n\n")
        return [part if part == "data: [DONE]" else json.loads(part.removeprefix("data: ")) for part in parts]


async def served(engine: Script, **fields: Any) -> Client:
    client = Client({"model": "m", "messages": [], **fields})
    await ProviderApp(engine)(client.scope, client.receive, client.send)
    return client


async def test_a_document_goes_out_as_it_is() -> None:
    client = await served(Script(answer={"id": "1"}))
    assert (client.status, client.body, client.ended) == (200, b'{"id":"1"}', True)
    assert client.headers[b"x-request-id"] == b"req_1"


async def test_a_stream_is_events_and_done() -> None:
    client = await served(Script(CHUNK, CHUNK), stream=True)
    assert client.headers[b"content-type"].startswith(b"text/event-stream")
    assert (client.events, client.ended) == ([CHUNK, CHUNK, "data: [DONE]"], True)


@pytest.mark.parametrize("engine", [Script(answer=ValueError("no")), Script(ValueError("no"), CHUNK)])
async def test_what_fails_before_the_first_chunk_is_an_error_with_a_status(engine: Script) -> None:
    client = await served(engine, stream=True)
    assert client.status == 502
    assert json.loads(client.body)["error"]["message"] == "no"


async def test_what_fails_later_is_an_error_event_and_no_done() -> None:
    client = await served(Script(CHUNK, ValueError("no")), stream=True)
    assert (client.status, client.ended) == (200, True)
    assert [("error" in event) for event in client.events] == [False, True]


async def test_an_empty_stream_is_an_error() -> None:
    engine = Script(CHUNK)
    engine._steps = ()

    async def answer(call: ProviderCall) -> Answer:
        return Answer(chunks=engine._chunks())

    engine.answer = answer  # type: ignore[method-assign]  # a fault is planted
    assert (await served(engine, stream=True)).status == 502


@pytest.mark.parametrize("steps", [(), (...,), (CHUNK, ...)], ids=["json", "before", "midway"])
async def test_a_caller_that_leaves_ends_the_providers_work(steps: tuple[Any, ...]) -> None:
    engine = Script(*steps, answer=...)
    client = Client({"model": "m", "messages": [], "stream": bool(steps)})
    serving = asyncio.create_task(ProviderApp(engine)(client.scope, client.receive, client.send))
    async with asyncio.timeout(5):
        await engine.waits.wait()
        client.leaves.set()
        await serving
        await engine.closed.wait()
    assert not client.ended


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/chat/completions", 405), ("POST", "/v1/responses", 404), ("GET", "/", 404)],
)
async def test_other_routes_are_refused_in_the_official_shape(method: str, path: str, status: int) -> None:
    client = Client({}, path, method)
    await ProviderApp(Script(answer={}))(client.scope, client.receive, client.send)
    assert client.status == status
    assert set(json.loads(client.body)["error"]) == {"message", "type", "param", "code"}


async def test_half_a_character_leaves_as_something_that_can_be_read() -> None:
    client = await served(Script(answer={"text": "\ud800"}))
    assert json.loads(client.body) == {"text": "?"}
