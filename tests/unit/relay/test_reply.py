"""What is read of a JSON reply: the same counts that are read of a chunk, whatever they look like."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import AttemptFailed
from gateway.domain.usage import Usage
from gateway.relay.chunk import usage_of
from gateway.relay.reply import read_reply

CHOICES = [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]
counts = st.one_of(st.integers(0, 40), st.sampled_from([10**12, 0, None]))
odd = st.sampled_from([-1, 10**12 + 1, 10**30, 9.0, 9.5, 1e12, True, False, "9", [], {}, [9]])


def objects(names: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, values))


def usages(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    parts = ["cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens"]
    details = st.one_of(st.none(), objects(parts, values), values)
    plain = ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens"]
    detailed = ["prompt_tokens_details", "completion_tokens_details"]
    whole = st.fixed_dictionaries(
        {}, optional=dict.fromkeys(plain, values) | dict.fromkeys(detailed, details)
    )
    return st.one_of(whole, values)


@settings(max_examples=500, derandomize=True, deadline=None, database=None)
@given(usage=st.one_of(usages(counts), usages(st.one_of(counts, odd))))
def test_a_reply_states_what_a_chunk_would(usage: Any) -> None:
    reply = read_reply(json.dumps({"choices": CHOICES, "usage": usage}).encode())
    assert reply.usage == usage_of({"usage": usage})


def test_what_official_servers_state() -> None:
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 20,
        "total_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 10, "audio_tokens": 1},
        "completion_tokens_details": {
            "reasoning_tokens": 5,
            "audio_tokens": 2,
            "rejected_prediction_tokens": 0,
        },
    }
    reply = read_reply(json.dumps({"choices": CHOICES, "usage": usage, "service_tier": "flex"}).encode())
    assert reply.usage == Usage(30, 20, 10, 0, 5, 1, 2)
    assert reply.service_tier == "flex"


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"1", b"{", b'{"usage": {}', b"[" * 100_000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(AttemptFailed, match="not a JSON object"):
        read_reply(body)
