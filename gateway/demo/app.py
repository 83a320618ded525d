"""The demo upstream as an ASGI application: routes, pacing, and streams whose every event leaves at once."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from gateway.demo.answer import Answer, Stamp
from gateway.demo.chat import answer_chat
from gateway.demo.chat_request import parse_chat
from gateway.demo.completions import answer_completion
from gateway.demo.embeddings import answer_embedding
from gateway.demo.errors import ApiError
from gateway.demo.models import MODELS, find_model

_JSON = b"application/json"
_EVENTS = b"text/event-stream; charset=utf-8"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Mapping[str, Any], Stamp], Answer]

_POSTS: dict[str, Handler] = {
    "/v1/chat/completions": lambda body, stamp: answer_chat(parse_chat(body), stamp),
    "/v1/completions": answer_completion,
    "/v1/embeddings": lambda body, _: answer_embedding(body),
}
_MODELS = "/v1/models"


@dataclass(frozen=True, slots=True)
class Pacing:
    """How fast the demo seems to think, in seconds. `between_s` bounds the pause before each later event."""

    first_token_s: float = 0.15
    between_s: tuple[float, float] = (0.020, 0.035)
    whole_token_s: float = 0.004
    """For replies that are not streamed: per token of the reply, on top of `first_token_s`."""


INSTANT = Pacing(0.0, (0.0, 0.0), 0.0)


class DemoApp:
    """The application. Clock (unix seconds), sleep and chance are arguments, so tests take no time."""

    def __init__(
        self,
        pacing: Pacing,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: random.Random,
    ) -> None:
        self._pacing = pacing
        self._clock = clock
        self._sleep = sleep
        self._chance = chance

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = time.perf_counter()
        stamp = Stamp(int(self._clock()), self._chance)
        headers = {"x-request-id": stamp.id("req_"), "openai-version": "2020-10-01"}
        try:
            answer = await self._answer(scope["method"], scope["path"], receive, stamp)
            await self._sleep(self._pacing.first_token_s + answer.directive.delay_s)
        except ApiError as error:
            await _send_json(send, error.status, error.body(), {**headers, **error.headers})
            return
        headers["openai-processing-ms"] = str(round((time.perf_counter() - started) * 1000))
        if answer.events is None:
            await self._sleep(self._pacing.whole_token_s * answer.output_tokens)
            await _send_json(send, 200, answer.document, headers, cut=answer.directive.cuts)
        else:
            await self._stream(answer, headers, receive, send)

    async def _answer(self, method: str, path: str, receive: Receive, stamp: Stamp) -> Answer:
        if path in _POSTS:
            if method != "POST":
                raise _wrong_method(method, path, "POST")
            return _POSTS[path](_parse(await _read(receive)), stamp)
        if path == _MODELS or path.startswith(_MODELS + "/"):
            if method != "GET":
                raise _wrong_method(method, path, "GET")
            if path == _MODELS:
                listed = [model.describe(stamp.created) for model in MODELS.values()]
                return Answer({"object": "list", "data": listed})
            return Answer(find_model(path.removeprefix(_MODELS + "/"), "model").describe(stamp.created))
        raise ApiError(404, f"Invalid URL ({method} {path})")

    async def _stream(self, answer: Answer, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        """Send events at the pace of a model until the last one, the cut, or the client's leaving."""
        events = answer.events or ()
        if answer.directive.cuts:
            events = events[: max(2, len(events) // 2)]
        leaving = asyncio.ensure_future(_client_left(receive))
        try:
            await send(_head(200, _EVENTS, {**headers, "cache-control": "no-cache"}))
            for number, event in enumerate(events):
                if number > 1 and not _is_closing(event):
                    await self._sleep(self._chance.uniform(*self._pacing.between_s))
                if leaving.done():
                    return
                await send(_part(b"data: " + _dump(event) + b"\n\n", more=True))
            if not answer.directive.cuts:  # returning without the end breaks the connection, as was asked for
                await send(_part(b"data: [DONE]\n\n", more=False))
        finally:
            leaving.cancel()


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(400, "The client left before its request was complete.")
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, "We could not parse the JSON body of your request: it is not an object.")
    return value


def _wrong_method(method: str, path: str, allow: str) -> ApiError:
    return ApiError(
        405, f"Not allowed to {method} on {path}.", code="method_not_supported", headers={"allow": allow}
    )


def _is_closing(event: Mapping[str, Any]) -> bool:
    """True for what follows the last token: the finish reason and the usage come without a pause."""
    return not event["choices"] or event["choices"][0]["finish_reason"] is not None


def _dump(value: Mapping[str, Any]) -> bytes:
    """Compact JSON; half of a surrogate pair, which a client may send as an escape, leaves as `?`."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


async def _send_json(
    send: Send, status: int, document: Mapping[str, Any], headers: Mapping[str, str], *, cut: bool = False
) -> None:
    """Send a whole document; with `cut` half of it, which breaks the connection."""
    body = _dump(document)
    await send(_head(status, _JSON, {**headers, "content-length": str(len(body))}))
    await send(_part(body[: len(body) // 2], more=True) if cut else _part(body, more=False))


def _head(status: int, content_type: bytes, headers: Mapping[str, str]) -> Message:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", content_type), *pairs],
    }


def _part(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
