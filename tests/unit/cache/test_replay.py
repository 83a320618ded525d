"""A kept answer in the form that is asked for. The demo upstream says every answer in both forms."""

import json
from random import Random
from typing import Any

import msgspec
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from gateway.cache.entry import Entry
from gateway.cache.replay import as_events, as_json, assembled, is_comment, is_usage_event, split
from gateway.demo.answer import Answer, Stamp
from gateway.demo.chat import answer_chat
from gateway.demo.chat_request import parse_chat
from gateway.demo.completions import answer_completion
from gateway.demo.models import SUPPORT
from tests.support.fake_upstream import chunk, event, finish, role, text, usage

STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CHATS: dict[str, dict[str, Any]] = {
    "text": {},
    "several choices": {"n": 3},
    "log probabilities": {"logprobs": True, "top_logprobs": 2},
    "calls of tools": {"tools": [WEATHER], "tool_choice": "required", "n": 2},
    "cut": {"max_tokens": 3},
}


def chat(**fields: Any) -> Answer:
    messages = [{"role": "user", "content": "What is the weather in Zürich? \u2028 😀"}]
    body = {"model": SUPPORT, "messages": messages, **STREAMED, **fields}
    return answer_chat(parse_chat(body), Stamp(5, Random(1)))  # noqa: S311  # no secret


def completion(**fields: Any) -> Answer:
    body = {"model": SUPPORT, "prompt": ["a", "b"], **STREAMED, **fields}
    return answer_completion(body, Stamp(5, Random(1)))  # noqa: S311  # no secret


def streamed(answer: Answer) -> Entry:
    return Entry("stream", tuple(event(each) for each in answer.events or ()), 1.0, "m", "u")


def whole(answer: Answer) -> Entry:
    return Entry("json", (msgspec.json.encode(answer.document),), 1.0, "m", "u")


@pytest.mark.parametrize("fields", CHATS.values(), ids=CHATS)
class TestChat:
    def test_a_stream_as_json(self, fields: dict[str, Any]) -> None:
        answer = chat(**fields)
        for choice in answer.document["choices"]:
            del choice["message"]["annotations"]  # of JSON only

        assert json.loads(as_json(streamed(answer))) == answer.document

    def test_json_as_a_stream(self, fields: dict[str, Any]) -> None:
        document = chat(**fields).document
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        for each in as_events(whole(chat(**fields))):
            state.handle_chunk(ChatCompletionChunk.model_validate_json(each[6:]))
        read = state.get_final_completion() if "max_tokens" not in fields else None

        if read is not None:
            for ours, theirs in zip(read.choices, document["choices"], strict=True):
                expected = theirs["message"]
                assert (ours.message.content or None) == (expected["content"] or None)
                assert [
                    c.function.model_dump(exclude={"parsed_arguments"}) for c in ours.message.tool_calls or ()
                ] == [c["function"] for c in expected.get("tool_calls", ())]
                assert ours.finish_reason == theirs["finish_reason"]
            assert read.usage is not None
            assert read.usage.total_tokens == document["usage"]["total_tokens"]

    def test_there_and_back(self, fields: dict[str, Any]) -> None:
        entry = whole(chat(**fields))
        document = json.loads(as_json(entry))
        for choice in document["choices"]:
            del choice["message"]["annotations"]

        assert assembled(as_events(entry)) == document


class TestCompletions:
    def test_a_stream_as_json(self) -> None:
        answer = completion(n=2)

        assert json.loads(as_json(streamed(answer))) == answer.document

    def test_there_and_back(self) -> None:
        entry = whole(completion())

        assert assembled(as_events(entry)) == json.loads(as_json(entry))

    def test_log_probabilities_grow(self) -> None:
        def part(word: str) -> bytes:
            logprobs = {"tokens": [word], "token_logprobs": [-0.1], "top_logprobs": [{word: -0.1}]}
            return event(
                {"object": "text_completion", "choices": [{"index": 0, "text": word, "logprobs": logprobs}]}
            )

        choice = assembled([part("a"), part("b")])["choices"][0]

        assert choice["text"] == "ab"
        assert choice["logprobs"]["tokens"] == ["a", "b"]
        assert choice["logprobs"]["token_logprobs"] == [-0.1, -0.1]


class TestPieces:
    def test_what_was_a_stream_leaves_as_it_came(self) -> None:
        entry = Entry("stream", (role(), text("a"), text("b"), finish(), usage()), 1.0, "m", "u")

        assert as_events(entry) == [role(), text("a"), text("b"), finish(), usage()]

    def test_json_leaves_as_it_came(self) -> None:
        assert as_json(Entry("json", (b'{ "odd" : 1e5 }',), 1.0, "m", "u")) == b'{ "odd" : 1e5 }'

    def test_fields_that_an_upstream_adds(self) -> None:
        events = [
            chunk(
                {"role": "assistant", "reasoning_content": "th"}, service_tier=None, system_fingerprint="fp"
            ),
            chunk({"reasoning_content": "ink", "annotations": [{"a": 1}]}, obfuscation="xyz"),
            chunk({"refusal": "no"}),
            chunk({"refusal": ".", "annotations": [{"b": 2}]}, service_tier="default"),
            event(
                {
                    "choices": [
                        {"index": 0, "delta": None, "finish_reason": "stop", "content_filter_results": {}}
                    ]
                }
            ),
        ]

        answer = assembled(events)

        assert answer["service_tier"] == "default"
        assert answer["system_fingerprint"] == "fp"
        assert "obfuscation" not in answer
        assert answer["choices"] == [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "reasoning_content": "think",
                    "annotations": [{"a": 1}, {"b": 2}],
                    "refusal": "no.",
                    "content": None,
                },
                "finish_reason": "stop",
                "content_filter_results": {},
            }
        ]

    def test_calls_of_tools_are_put_together_by_their_number(self) -> None:
        def call(index: int, **fields: Any) -> bytes:
            return chunk({"tool_calls": [{"index": index, **fields}]})

        answer = assembled(
            [
                role(),
                call(1, id="b", type="function", function={"name": "g", "arguments": ""}),
                call(0, id="a", type="function", function={"name": "f", "arguments": "{"}),
                call(1, function={"arguments": "[]"}),
                call(0, function={"arguments": "}"}),
                finish("tool_calls"),
            ]
        )

        assert answer["choices"][0]["message"]["content"] is None
        assert answer["choices"][0]["message"]["tool_calls"] == [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[]"}},
        ]

    def test_events_are_told_apart(self) -> None:
        odd = b"data: {\r\ndata: }\r\n\r\n"

        assert split(role() + text("a") + usage()) == [role(), text("a"), usage()]
        assert split(role() + odd) == [role(), odd]
        assert is_usage_event(usage())
        assert not is_usage_event(text('"usage" "choices":[]'))
        assert is_comment(b": keep-alive\n\n")
        assert not is_comment(text(":"))
