"""What is read out of a `usage` object, for billing."""

from __future__ import annotations

import pytest

from gateway.domain.usage import Usage
from gateway.relay.chunk import usage_of


def test_every_part_that_has_a_price() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {
            "cached_tokens": 40,
            "cache_write_tokens": 20,
            "audio_tokens": 30,
            "text_tokens": 70,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 10,
            "audio_tokens": 5,
            "rejected_prediction_tokens": 3,
        },
    }
    assert usage_of({"usage": usage}) == Usage(
        prompt_tokens=100,
        completion_tokens=50,
        cached_tokens=40,
        cache_write_tokens=20,
        reasoning_tokens=10,
        audio_prompt_tokens=30,
        audio_completion_tokens=5,
    )


@pytest.mark.parametrize("details", [None, [], "odd", {"audio_tokens": None}, {"audio_tokens": -1}, {}])
def test_parts_that_are_absent_or_odd_are_none(details: object) -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": details,
        "completion_tokens_details": details,
    }
    assert usage_of({"usage": usage}) == Usage(prompt_tokens=10, completion_tokens=5)


def test_a_part_is_not_larger_than_the_whole() -> None:
    details = {"audio_tokens": 99, "cached_tokens": 99, "reasoning_tokens": 99}
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": details,
        "completion_tokens_details": details,
    }
    assert usage_of({"usage": usage}) == Usage(
        10, 5, 10, reasoning_tokens=5, audio_prompt_tokens=10, audio_completion_tokens=5
    )
