"""What reaches a provider of a request: the official fields, and what the operator said of the provider."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.upstream import UpstreamSettings
from gateway.providers.call import FIELDS, HEADER, OWN, UNUSED, ProviderCall, parse_call
from gateway.providers.fault import Fault
from gateway.upstream.provider_call import provider_header

CHAT: dict[str, Any] = {"model": "anthropic/c", "messages": [{"role": "user", "content": "hi"}]}
DANGEROUS = (
    "api_base",
    "api_key",
    "aws_secret_access_key",
    "base_url",
    "client",
    "custom_llm_provider",
    "extra_headers",
    "fallbacks",
    "headers",
    "mock_response",
    "num_retries",
    "timeout",
    "vertex_credentials",
)


def parsed(body: Any, route: str = "chat", headers: dict[bytes, bytes] | None = None) -> ProviderCall:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_call(route, headers or {}, content)


@pytest.mark.parametrize("name", DANGEROUS)
@pytest.mark.parametrize("route", FIELDS)
def test_a_caller_cannot_say_where_a_call_goes(route: str, name: str) -> None:
    with pytest.raises(Fault) as refused:
        parsed({**CHAT, name: "x"}, route="chat")
    assert refused.value.status == 400
    assert refused.value.body["error"]["param"] == name
    assert refused.value.body["error"]["code"] == "unknown_parameter"
    assert name not in FIELDS[route] | OWN | UNUSED


def test_what_goes_on_and_what_is_left_out() -> None:
    call = parsed({**CHAT, "temperature": 0.5, "seed": None, "store": False, "metadata": {"a": "b"}})
    assert call.fields == {"messages": CHAT["messages"], "temperature": 0.5}
    assert (call.model, call.streams, call.wants_usage, call.api_key) == ("anthropic/c", False, False, None)


@pytest.mark.parametrize(
    ("options", "wants"),
    [({"include_usage": True}, True), ({"include_usage": False}, False), (None, False), ("odd", False)],
)
def test_a_stream_tells_its_usage_where_that_is_asked_for(options: Any, wants: bool) -> None:
    call = parsed({**CHAT, "stream": True, "stream_options": options})
    assert (call.streams, call.wants_usage) == (True, wants)


@pytest.mark.parametrize(("asked", "wants"), [("base64", True), ("float", False), (None, False)])
def test_the_form_of_vectors_is_ours_to_make(asked: str | None, wants: bool) -> None:
    call = parsed({"model": "m", "input": "hi", "encoding_format": asked}, route="embeddings")
    assert (call.fields, call.wants_base64) == ({"input": "hi"}, wants)


@pytest.mark.parametrize("kind", ["mcp", "web_search_20250305", None])
def test_tools_are_functions(kind: str | None) -> None:
    with pytest.raises(Fault) as refused:
        parsed({**CHAT, "tools": [{"type": "function", "function": {}}, {"type": kind}]})
    assert refused.value.body["error"]["param"] == "tools[1].type"


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"[" * 100_000, {"messages": []}, {**CHAT, "model": 1}])
def test_what_is_no_call_is_refused(body: Any) -> None:
    with pytest.raises(Fault) as refused:
        parsed(body)
    assert refused.value.status == 400


def test_the_process_reads_what_the_worker_writes() -> None:
    settings = UpstreamSettings.model_validate(
        {
            "kind": "litellm",
            "provider": "bedrock",
            "base_url": "https://b.example/v1",
            "headers": {"X-Team": "größe".encode("ascii", "ignore").decode()},
            "params": {"aws_region_name": "eu-west-1", "note": "ü"},
            "models": ["m"],
            "timeouts": {"connect_s": 1.5},
        }
    )
    name, value = provider_header(settings)
    assert name == HEADER
    assert value.isascii()
    call = parsed(CHAT, headers={name: value, b"authorization": b"Bearer sk-1"})
    assert (call.provider, call.base_url, call.connect_s) == ("bedrock", "https://b.example/v1", 1.5)
    assert (call.headers, call.api_key) == ({"X-Team": "gre"}, "sk-1")
    assert call.params == {"aws_region_name": "eu-west-1", "note": "ü"}
