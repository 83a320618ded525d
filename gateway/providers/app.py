"""The process as an ASGI application: a call comes in, the engine answers, its caller may leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.providers.call import ProviderCall, parse_call
from gateway.providers.fault import Fault, fault_of

ROUTES: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}

_JSON = b"application/json"
_EVENTS = b"text/event-stream; charset=utf-8"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole document, or the chunks of a stream; `request_id` is the provider's own."""

    document: Mapping[str, Any] | None = None
    chunks: AsyncGenerator[Mapping[str, Any], None] | None = None
    request_id: str | None = field(default=None)


class Engine(Protocol):
    """What answers calls. It raises whatever `fault_of` understands."""

    async def answer(self, call: ProviderCall) -> Answer:
        """Ask the provider. Cancelling it, or closing the chunks, closes the provider's connection."""


class ProviderApp:
    """The application."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        secret: str | None = None
        try:
            call = parse_call(_route(scope), dict(scope["headers"]), await _read(receive))
            secret = call.api_key
            await _unless_left(self._serve(call, send), receive)
        except _Left:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an error in the official shape
            fault = fault_of(error, secret)
            await _send_json(send, fault.status, fault.body, fault.headers)

    async def _serve(self, call: ProviderCall, send: Send) -> None:
        answer = await self._engine.answer(call)
        headers = {"x-request-id": answer.request_id} if answer.request_id else {}
        if answer.chunks is None:
            await _send_json(send, 200, answer.document or {}, headers)
            return
        async with aclosing(answer.chunks) as chunks:
            # The status waits for the first chunk, so that what fails until then is an HTTP error.
            first = await anext(chunks, None)
            if first is None:
                raise Fault(
                    502, "The provider sent an empty stream.", kind="server_error", code="upstream_error"
                )
            await send(_head(200, _EVENTS, {**headers, "cache-control": "no-cache"}))
            await send(_part(_event(first), more=True))
            try:
                async for chunk in chunks:
                    await send(_part(_event(chunk), more=True))
            except Exception as error:  # noqa: BLE001 - as above, in the stream
                await send(_part(_event(fault_of(error, call.api_key).body), more=False))
                return
        await send(_part(b"data: [DONE]\n\n", more=False))


class _Left(Exception):
    """The worker closed the connection."""


async def _unless_left(serving: Awaitable[None], receive: Receive) -> None:
    """Serve, but stop at once when nobody listens any more. Raises `_Left` then."""
    work = asyncio.ensure_future(serving)
    leaving = asyncio.ensure_future(_client_left(receive))
    try:
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        left = not work.done()
        if left:
            work.cancel()
        await asyncio.wait({work})
    if left:
        if not work.cancelled():
            work.exception()  # seen: there is nobody to tell
        raise _Left
    work.result()


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Left
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _route(scope: Mapping[str, Any]) -> str:
    method, path = scope["method"], scope["path"]
    if path not in ROUTES:
        raise Fault(404, f"Invalid URL ({method} {path}): providers have chat, completions and embeddings")
    if method != "POST":
        raise Fault(405, f"Not allowed to {method} on {path}.", headers={"allow": "POST"})
    return ROUTES[path]


def _event(document: Mapping[str, Any]) -> bytes:
    return b"data: " + _dump(document) + b"\n\n"


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


async def _send_json(
    send: Send, status: int, document: Mapping[str, Any], headers: Mapping[str, str]
) -> None:
    body = _dump(document)
    await send(_head(status, _JSON, {**headers, "content-length": str(len(body))}))
    await send(_part(body, more=False))


def _head(status: int, content_type: bytes, headers: Mapping[str, str]) -> Message:
    pairs = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", content_type), *pairs],
    }


def _part(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
