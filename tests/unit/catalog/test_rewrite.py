"""Bodies made ready for a model: defaults, rewrites, adapters, the id, and the request for usage."""

import json
from typing import Any

import pytest
from msgspec import Raw

from gateway.catalog.build import compile_rewrite
from gateway.catalog.rewrite import body_for
from gateway.config.alias import RewriteSettings
from gateway.domain.call import CHAT
from gateway.domain.plan import Candidate, Target
from gateway.edge.request import parse_call

HI = {"role": "user", "content": "hi"}


def sent(
    fields: dict[str, Any], *, defaults: dict[str, Any] | None = None, stream_usage: bool = True, **asked: Any
) -> dict[str, Any]:
    call = parse_call(CHAT, json.dumps({"model": "support", "messages": [HI]} | fields).encode(), 64)
    rewrite = asked.pop("rewrite", None)
    candidate = Candidate(
        "a",
        "the-model",
        rewrite=compile_rewrite("r", RewriteSettings(**rewrite)) if rewrite else None,
        **asked,
    )
    raw = tuple((name, Raw(json.dumps(value).encode())) for name, value in (defaults or {}).items())
    target = Target("support", "support", "support@1/stable", (candidate,), defaults=raw)
    body: dict[str, Any] = json.loads(body_for(call, target, candidate, stream_usage=stream_usage))
    return body


def test_only_the_model_changes() -> None:
    assert sent({"made_up": [1, {"x": None}]}) == {
        "model": "the-model",
        "messages": [HI],
        "made_up": [1, {"x": None}],
    }


def test_defaults_fill_in_where_the_client_is_silent() -> None:
    body = sent({"top_p": 0.5}, defaults={"top_p": 1, "temperature": 0.2})

    assert (body["top_p"], body["temperature"]) == (0.5, 0.2)


def test_a_rewrite_drops_renames_and_sets() -> None:
    rewrite = {
        "drop": ["temperature"],
        "rename": {"max_tokens": "max_completion_tokens"},
        "set": {"reasoning_effort": "none"},
    }

    body = sent({"temperature": 1, "max_tokens": 5}, rewrite=rewrite)

    assert "temperature" not in body
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (5, "none")


def test_a_rename_never_replaces_what_the_client_said() -> None:
    body = sent(
        {"max_tokens": 5, "max_completion_tokens": 9},
        rewrite={"rename": {"max_tokens": "max_completion_tokens"}},
    )

    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


def test_a_system_prompt_comes_in_front() -> None:
    assert sent({}, rewrite={"system_prompt": 'Say "é".'})["messages"] == [
        {"role": "system", "content": 'Say "é".'},
        HI,
    ]


def test_an_adapter_is_chosen_by_its_fields() -> None:
    assert sent({"lora": 1}, adapter=(("lora", Raw(b'[{"id":0}]')),))["lora"] == [{"id": 0}]


class TestUsage:
    def test_streams_ask_for_it_and_keep_the_clients_other_options(self) -> None:
        assert sent({"stream": True})["stream_options"] == {"include_usage": True}
        merged = sent(
            {"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}}
        )
        assert merged["stream_options"] == {"include_usage": True, "include_obfuscation": False}
        assert sent({"stream": True, "stream_options": None})["stream_options"] == {"include_usage": True}

    def test_not_where_the_upstream_refuses_it(self) -> None:
        assert "stream_options" not in sent(
            {"stream": True, "stream_options": {"include_usage": True}}, stream_usage=False
        )

    @pytest.mark.parametrize("stream", [False, None])
    def test_a_json_reply_has_it_anyway(self, stream: bool | None) -> None:
        assert "stream_options" not in sent({"stream": stream})
