"""litellm's documents in the shapes of the official API."""

from __future__ import annotations

import base64
import struct

from gateway.providers import document
from gateway.relay.chunk import usage_of


def test_a_reply_has_the_official_nulls_and_none_of_the_extras() -> None:
    made = document.reply(
        {
            "id": "1",
            "system_fingerprint": None,
            "vertex_ai_grounding_metadata": [],
            "choices": [
                {"index": 0, "message": {"role": "assistant", "images": [], "tool_calls": [{"id": "a"}]}}
            ],
        }
    )
    message = {"role": "assistant", "tool_calls": [{"id": "a"}], "content": None, "refusal": None}
    assert made == {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": None}]}


def test_a_chunk_keeps_its_delta_and_says_whether_it_ends() -> None:
    given = {"choices": [{"index": 0, "delta": {"content": "a", "role": None}, "finish_reason": None}]}
    made = document.chunk(given)
    assert made == {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
    assert not document.finishes(made)
    end = document.chunk({"choices": [{"index": 0, "delta": {"content": None}, "finish_reason": "stop"}]})
    assert end == {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert document.finishes(end)


def test_a_chunk_of_a_completion_has_text() -> None:
    given = {"object": "text_completion", "choices": [{"index": 0, "text": "a", "finish_reason": None}]}
    assert document.chunk(given) == given
    end = {"object": "text_completion", "choices": [{"index": 0, "text": None, "finish_reason": "stop"}]}
    made = document.chunk(end)
    assert made is not None
    assert made["choices"] == [{"index": 0, "text": "", "finish_reason": "stop"}]


def test_a_chunk_that_says_nothing_is_none() -> None:
    assert document.chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": None}]}) is None
    assert document.chunk({"choices": []}) is None


def test_vectors_are_numbers_or_their_base64() -> None:
    given = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}]}
    assert document.embeddings(given, as_base64=False) == given
    [entry] = document.embeddings(given, as_base64=True)["data"]
    assert struct.unpack("<2f", base64.b64decode(entry["embedding"])) == (0.5, -0.25)


def test_the_usage_chunk_has_no_choices() -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    made = document.chunk({"choices": [{"index": 0, "delta": {}}], "usage": counts})
    assert made is not None
    assert made["choices"] == []


def test_the_gateway_reads_the_counts_of_every_provider() -> None:
    anthropic = {
        "prompt_tokens": 31,
        "completion_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 8, "cache_creation_tokens": 5},
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 8,
    }
    older = {
        "prompt_tokens": 31,
        "completion_tokens": 12,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 8,
    }
    for counts in (anthropic, older):
        read = usage_of({"usage": document.usage(counts)})
        assert read is not None
        assert (read.prompt_tokens, read.completion_tokens) == (31, 12)
        assert (read.cached_tokens, read.cache_write_tokens, read.reasoning_tokens) == (8, 5, 0)
