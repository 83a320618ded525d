"""A call as the worker sends it: the official body, a credential, and one header about the provider.

What a caller may say is a closed list. litellm takes addresses, credentials and files by the same arguments
as temperatures, so whatever is not an official field of the route is refused here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.providers.fault import Fault

HEADER = b"provider-call"

_SAMPLING = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "temperature",
    "top_p",
    "user",
)
FIELDS: Mapping[str, frozenset[str]] = {
    "chat": frozenset(
        (
            *_SAMPLING,
            "audio",
            "function_call",
            "functions",
            "max_completion_tokens",
            "messages",
            "modalities",
            "parallel_tool_calls",
            "prediction",
            "reasoning_effort",
            "response_format",
            "service_tier",
            "thinking",
            "tool_choice",
            "tools",
            "top_k",
            "top_logprobs",
            "verbosity",
            "web_search_options",
        )
    ),
    "completions": frozenset((*_SAMPLING, "best_of", "echo", "prompt", "suffix")),
    "embeddings": frozenset(("dimensions", "encoding_format", "input", "user")),
}
"""What a caller may say, by route, beside `OWN` and `UNUSED`."""

OWN = frozenset(("model", "stream", "stream_options"))
_MADE_HERE = "encoding_format"
UNUSED = frozenset(("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "store"))
"""Taken and left out: they tell the official service something about a call, and change no answer."""


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """One call.

    Args:
        route: "chat", "completions" or "embeddings".
        model: as the worker sent it.
        fields: of the body, those that go on.
        wants_usage: the stream's last chunk tells the usage.
        wants_base64: embeddings as text; the official SDKs ask for it, and no provider but one has it.
        api_key: of the provider; None = what the environment gives.
        provider: litellm's name of it; None = the model's id begins with it.
        base_url: of the provider's API; None = its public one.
        headers: that go along.
        params: further arguments, the operator's.
        connect_s: seconds to connect.
    """

    route: str
    model: str
    fields: Mapping[str, Any]
    streams: bool = False
    wants_usage: bool = False
    wants_base64: bool = False
    api_key: str | None = None
    provider: str | None = None
    base_url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    connect_s: float = 3.0


def parse_call(route: str, headers: Mapping[bytes, bytes], body: bytes) -> ProviderCall:
    """Read a call. Raises `Fault` (400) where the body is none."""
    fields = _object(body)
    model, streams = fields.get("model"), fields.get("stream") is True
    if not isinstance(model, str) or not model:
        raise Fault(400, "you must provide a model parameter", param="model")
    known = FIELDS[route]
    for name in fields:
        if name not in known and name not in OWN and name not in UNUSED:
            raise Fault(
                400,
                f"Unrecognized request argument supplied: {name}. Providers get the official fields only.",
                code="unknown_parameter",
                param=name,
            )
    _check_tools(fields.get("tools"))
    options = fields.get("stream_options")
    told = json.loads(headers.get(HEADER, b"{}"))
    scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return ProviderCall(
        route=route,
        model=model,
        fields={
            name: value
            for name, value in fields.items()
            if name in known and name != _MADE_HERE and value is not None
        },
        streams=streams,
        wants_usage=streams and isinstance(options, dict) and options.get("include_usage") is True,
        wants_base64=fields.get(_MADE_HERE) == "base64",
        api_key=key if scheme.lower() == "bearer" and key else None,
        provider=told.get("provider"),
        base_url=told.get("base_url"),
        headers=told.get("headers", {}),
        params=told.get("params", {}),
        connect_s=told.get("connect_s", 3.0),
    )


def _check_tools(tools: Any) -> None:
    """Functions only: litellm itself would call the servers that tools of other types name."""
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise Fault(400, "Providers get tools of type 'function' only.", param=f"tools[{number}].type")


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Fault(400, f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(value, dict):
        raise Fault(400, "We could not parse the JSON body of your request: it is not an object.")
    return value
