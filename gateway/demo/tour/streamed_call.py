"""One streamed call with the official SDK, and whether all of it came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from openai.types import CompletionUsage

QUESTION = "Hello! Who are you?"
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class StreamedCall:
    """What came: `done` says whether the stream ended as it must, which the SDK does not tell."""

    text: str
    model: str | None
    upstream: str | None
    usage: dict[str, Any] | None
    done: bool
    error: str | None = None

    @property
    def is_complete(self) -> bool:
        """True where text, usage and `[DONE]` came."""
        return bool(self.text and self.usage and self.done and not self.error)

    def as_text(self) -> str:
        """The lines for a person."""
        lines = [
            f"text: {self.text}",
            f"served model: {self.model}",
            f"upstream: {self.upstream}",
            f"usage: {json.dumps(self.usage)}",
        ]
        if self.error:
            lines.append(f"error: {self.error}")
        elif not self.done:
            lines.append("error: the stream ended without [DONE]")
        return "\n".join(lines)


class _Tap(httpx2.SyncByteStream):
    """A body on its way to the SDK; keeps its last bytes, where `[DONE]` must stand."""

    def __init__(self, body: httpx2.SyncByteStream) -> None:
        self._body = body
        self.tail = b""

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            self.tail = (self.tail + chunk)[-len(_DONE) :]
            yield chunk

    def close(self) -> None:
        self._body.close()


class _TappedTransport(httpx2.HTTPTransport):
    """The usual transport; `last` is the tap on the body of the last answer."""

    last: _Tap | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = self.last = _Tap(response.stream)
        return response


def streamed_call(data_url: str, key: str, model: str) -> StreamedCall:
    """Ask the model who it is. An error of the SDK is part of the result."""
    transport = _TappedTransport()
    text, headers = "", httpx2.Headers()
    usage: dict[str, Any] | None = None
    error: str | None = None
    with (
        httpx2.Client(transport=transport, trust_env=False) as http,  # a proxy has no business here
        openai.OpenAI(base_url=f"{data_url}/v1", api_key=key, http_client=http) as client,
    ):
        try:
            answer = client.chat.completions.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": QUESTION}],
                stream=True,
                stream_options={"include_usage": True},
            )
            headers = answer.headers
            for chunk in answer.parse():
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                usage = _readable(chunk.usage) if chunk.usage else usage
        except openai.OpenAIError as caught:
            error = str(caught)
    done = transport.last is not None and transport.last.tail == _DONE
    served, upstream = headers.get("x-tunegate-model"), headers.get("x-tunegate-upstream")
    return StreamedCall(text, served, upstream, usage, done, error)


def _readable(usage: CompletionUsage) -> dict[str, Any]:
    """All that came, the prompt first as on the wire: the SDK sorts it by name."""
    first = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: getattr(usage, name) for name in first} | usage.model_dump(exclude_none=True)
