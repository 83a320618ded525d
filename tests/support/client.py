"""Clients of a gateway: one that speaks HTTP, one that speaks bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

HI = [{"role": "user", "content": "hi"}]


class Client:
    """Calls a gateway with one key."""

    def __init__(self, url: str, key: str | None, http: httpx2.AsyncClient) -> None:
        self.url = url
        self.http = http
        self.headers = {"authorization": f"Bearer {key}"} if key else {}

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = self.headers | {"content-type": "application/json"} | (headers or {})
        return await self.http.post(self.url + path, content=content, headers=given)

    async def get(self, path: str, headers: dict[str, str] | None = None) -> httpx2.Response:
        return await self.http.get(self.url + path, headers=self.headers | (headers or {}))

    async def chat(
        self, model: str = "support", headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx2.Response:
        """A chat completion, streams read to their end."""
        return await self.post("/v1/chat/completions", {"model": model, "messages": HI} | fields, headers)

    @asynccontextmanager
    async def stream(self, model: str = "support", **fields: Any) -> AsyncIterator[httpx2.Response]:
        """A chat completion as a stream, read by the test."""
        body = {"model": model, "messages": HI, "stream": True} | fields
        async with self.http.stream(
            "POST", self.url + "/v1/chat/completions", json=body, headers=self.headers
        ) as response:
            yield response


@asynccontextmanager
async def client_of(url: str, key: str | None) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(timeout=10, trust_env=False) as http:
        yield Client(url, key, http)


async def raw(port: int, sent: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes as they are and read until the gateway closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        if half_close:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def chat_bytes(key: str, version: str = "1.1", **fields: Any) -> bytes:
    """A chat completion as it stands on the wire."""
    body = json.dumps({"model": "support", "messages": HI} | fields).encode()
    lines = (
        f"POST /v1/chat/completions HTTP/{version}",
        "Host: x",
        f"Authorization: Bearer {key}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error_of(answer: bytes) -> dict[str, Any]:
    """The error object of a raw answer."""
    error: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error
