"""A double of an Azure OpenAI resource: it refuses what Azure refuses, in Azure's words.

    azure = AzureDouble({"support-dep": "gpt-4.1-mini-2025-04-14"})

Scripts go by deployment: `azure.plays("support-dep", ...)`. What was sent wrong is answered before them.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.fake_upstream import FakeUpstream, ReceivedCall, _Script, chunk, done, event, usage

KEY = "azure-key-0123456789abcdef"
ROUTES = ("/chat/completions", "/completions", "/embeddings")

# Since which version the surface with `/deployments/` knows a field.
_SINCE = {
    "parallel_tool_calls": "2024-08-01",
    "stream_options": "2024-09-01",
    "max_completion_tokens": "2024-09-01",
    "reasoning_effort": "2024-12-01",
    "metadata": "2024-10-01",
    "store": "2024-10-01",
}
_FIELDS = {
    *("model", "messages", "stream", "temperature", "top_p", "n", "stop", "max_tokens", "presence_penalty"),
    *(
        "frequency_penalty",
        "logit_bias",
        "user",
        "tools",
        "tool_choice",
        "response_format",
        "seed",
        "logprobs",
    ),
    *("top_logprobs", "prompt", "suffix", "echo", "best_of", "input", "dimensions", "encoding_format"),
    *_SINCE,
}
_SAFE = {
    name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
}
FILTERED = {**_SAFE, "violence": {"filtered": True, "severity": "high"}}


def prompt_frame() -> bytes:
    """The first event of every stream: no choices, what the filter thinks of the prompt."""
    results = [{"prompt_index": 0, "content_filter_results": _SAFE}]
    return event(
        {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": results}
    )


def said(content: str) -> bytes:
    choice = {
        "index": 0,
        "delta": {"content": content},
        "finish_reason": None,
        "content_filter_results": _SAFE,
        "logprobs": None,
    }
    return chunk({}, choices=[choice])


def filtered() -> bytes:
    """The end of an answer that the filter cut."""
    choice = {"index": 0, "delta": {}, "finish_reason": "content_filter", "content_filter_results": FILTERED}
    return chunk({}, choices=[choice])


class AzureDouble(FakeUpstream):
    """One resource.

    Args:
        deployments: their names, and the model of each.
        tokens: of Entra that it takes; where there are any, it takes no key.
        oldest, newest: versions of the surface with `/deployments/` that it has.
    """

    def __init__(
        self,
        deployments: Mapping[str, str],
        tokens: tuple[str, ...] = (),
        oldest: str = "2023-05-15",
        newest: str = "2025-04-01",
    ) -> None:
        super().__init__()
        self.deployments = dict(deployments)
        self.tokens = list(tokens)
        self._versions = (oldest, newest)

    def _script_for(self, call: ReceivedCall) -> _Script:
        url = urlsplit(call.path)
        version = parse_qs(url.query).get("api-version", [None])[-1]
        dated = re.fullmatch(r"/openai/deployments/([^/]+)(/.+)", url.path)
        v1 = re.fullmatch(r"/openai/v1(/.+)", url.path)
        refused = self._no_such_place(bool(dated), bool(v1), version) or self._no_entry(call)
        if refused is not None:
            return refused
        if call.method == "GET":
            has_list = url.path == "/openai/v1/models" or (url.path == "/openai/models" and version)
            return super()._script_for(call) if has_list else _refusal(404, "404", "Resource not found")
        asked, route = call.json, dated[2] if dated else v1[1] if v1 else ""
        deployment = str(unquote(dated[1]) if dated else asked.get("model"))
        since = str(version) if dated else "9"
        if refused := self._not_understood(route, deployment, asked, since):
            return refused
        waiting = self._scripts[deployment]
        return waiting.popleft() if waiting else self._answer_of(deployment, route, asked)

    def _no_such_place(self, is_dated: bool, is_v1: bool, version: str | None) -> _Script | None:
        oldest, newest = self._versions
        if is_dated and (version is None or not oldest <= version[:10] <= newest):
            return _refusal(404, "404", "Resource not found")
        if is_v1 and version not in (None, "preview", "latest"):
            return _refusal(400, "BadRequest", "API version not supported")
        return None

    def _not_understood(
        self, route: str, deployment: str, asked: dict[str, Any], since: str
    ) -> _Script | None:
        if route not in ROUTES:
            return _refusal(404, "404", "Resource not found")
        if deployment not in self.deployments:
            return _refusal(404, "DeploymentNotFound", _NOT_FOUND)
        known = {field for field in _FIELDS if _SINCE.get(field, "") <= since}
        if unknown := [field for field in asked if field not in known]:
            return _invalid(f"Unrecognized request argument supplied: {unknown[0]}")
        return None

    def _no_entry(self, call: ReceivedCall) -> _Script | None:
        key, authorization = call.headers.get("api-key"), call.headers.get("authorization")
        if self.tokens:
            if authorization not in {f"Bearer {token}" for token in self.tokens} or key is not None:
                return _refusal(401, "Unauthorized", _BAD_TOKEN)
        elif key != KEY or authorization is not None:
            return _refusal(401, "401", _BAD_KEY)
        return None

    def _answer_of(self, deployment: str, route: str, asked: dict[str, Any]) -> _Script:
        model = self.deployments[deployment]
        headers = {
            "content-type": "application/json",
            "apim-request-id": "00000000-1111-2222-3333-444444444444",
            "x-ms-region": "Sweden Central",
            "x-ratelimit-limit-requests": "100",
            "x-ratelimit-remaining-requests": "99",
            "x-ratelimit-remaining-tokens": "-1",
            "x-ratelimit-reset-requests": "0",
        }
        if asked.get("stream"):
            steps = [prompt_frame(), said(""), said("Hel"), said("lo")]
            steps += [chunk({}, "stop", model=model)]
            if (asked.get("stream_options") or {}).get("include_usage"):
                steps.append(usage())
            return _Script(200, {**headers, "content-type": "text/event-stream"}, (*steps, done()))
        if route == "/embeddings":
            body: dict[str, Any] = {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }
        else:
            message = {"role": "assistant", "content": "Hello", "refusal": None}
            choice = {"index": 0, "message": message, "text": "Hello", "finish_reason": "stop"}
            body = {
                "id": "chatcmpl-azure",
                "object": "chat.completion",
                "created": 1,
                "choices": [choice | {"content_filter_results": _SAFE, "logprobs": None}],
                "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
            }
        return _Script(200, headers, (json.dumps(body | {"model": model}).encode(),))


_NOT_FOUND = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 "
    "minutes, please wait a moment and try again."
)
_BAD_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key "
    "for an active subscription and use a correct regional API endpoint for your resource."
)
_BAD_TOKEN = "Access token is missing, invalid, audience is incorrect, or have expired."


def _refusal(status: int, code: str, message: str) -> _Script:
    """Azure's own errors have neither type nor param."""
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return _Script(status, {"content-type": "application/json"}, (body,))


def _invalid(message: str) -> _Script:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return _Script(400, {"content-type": "application/json"}, (json.dumps({"error": error}).encode(),))


@asynccontextmanager
async def running_azure(
    deployments: Mapping[str, str], tokens: tuple[str, ...] = ()
) -> AsyncIterator[AzureDouble]:
    """A resource on a port of the kernel's choice; its `url` has no path."""
    azure = AzureDouble(deployments, tokens)
    server = await azure.start()
    azure.url = azure.url.removesuffix("/v1")
    try:
        yield azure
    finally:
        await azure.stop(server)
