from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.call import CHAT, COMPLETIONS, EMBEDDINGS, Call, CallRoute
from gateway.domain.errors import InvalidRequest
from gateway.limits.estimate import MEDIA_TOKENS, Size, size_of
from gateway.limits.values import UNLIMITED

MESSAGES = '[{"role":"user","content":"hi"}]'


def size(route: CallRoute = CHAT, **values: str) -> Size:
    """Of a body whose values are JSON text."""
    fields = {name: msgspec.Raw(text.encode()) for name, text in values.items()}
    return size_of(Call(route, fields, "m"))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("text", "cap"),
    [
        ("1", 1),
        ("16384", 16_384),
        ("5.0", 5),
        ("5e2", 500),
        ("null", None),
        ("1e9", UNLIMITED),
        ("1000000000", UNLIMITED),
        ("999999999", 999_999_999),
        ("9" * 4000, UNLIMITED),
        ("1e400", UNLIMITED),
    ],
)
def test_caps_of_chat(name: str, text: str, cap: int | None) -> None:
    assert size(messages=MESSAGES, **{name: text}).cap == cap


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n"])
@pytest.mark.parametrize(
    "text", ["0", "-0", "-1", "0.0", "1.5", "-1e400", "1e-400", '"5"', "true", "false", "[]", "{}"]
)
def test_numbers_that_the_official_api_refuses_too(name: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        size(messages=MESSAGES, **{name: text})
    assert refused.value.param == name
    assert name in str(refused.value)


def test_a_refusal_says_what_is_wrong_in_few_words() -> None:
    with pytest.raises(InvalidRequest, match="Expected a value >= 1, but got -7 instead"):
        size(max_tokens="-7")
    with pytest.raises(InvalidRequest) as refused:
        size(max_tokens="-" + "9" * 4000)
    assert len(str(refused.value)) < 200
    with pytest.raises(InvalidRequest, match="decimal number"):
        size(max_tokens="2.5")


@pytest.mark.parametrize(
    ("first", "second", "cap"),
    [("10", "20", 20), ("20", "10", 20), ("null", "10", 10), ("10", "null", 10), ("null", "null", None)],
)
def test_of_both_caps_the_larger_counts(first: str, second: str, cap: int | None) -> None:
    assert size(max_tokens=first, max_completion_tokens=second).cap == cap


def test_of_both_caps_each_must_be_valid() -> None:
    with pytest.raises(InvalidRequest):
        size(max_tokens="0", max_completion_tokens="10")
    with pytest.raises(InvalidRequest):
        size(max_tokens="10", max_completion_tokens="-1")


def test_completions_may_ask_for_no_tokens_and_have_one_cap() -> None:
    assert size(COMPLETIONS, prompt='"a"', max_tokens="0").cap == 0
    assert size(COMPLETIONS, prompt='"a"', max_completion_tokens="5").cap is None
    with pytest.raises(InvalidRequest):
        size(COMPLETIONS, prompt='"a"', max_tokens="-1")


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [('"a"', 1), ('["a","b"]', 2), ("[1,2,3]", 1), ("[[1],[2],[3]]", 3), ("[]", 1), ("null", 1)],
)
def test_completions_answer_each_prompt(prompt: str, prompts: int) -> None:
    assert size(COMPLETIONS, prompt=prompt).answers == prompts
    assert size(COMPLETIONS, prompt=prompt, n="2").answers == 2 * prompts
    assert size(COMPLETIONS, prompt=prompt, n="2", best_of="5").answers == 5 * prompts


def test_embeddings_answer_with_nothing() -> None:
    found = size(EMBEDDINGS, input='"abcdefgh"', max_tokens="7", n="3")
    assert (found.answers, found.cap) == (0, None)
    assert found.most_output_tokens(None, None) == 0
    assert found.likely_tokens(1000) == len('"abcdefgh"' + "7" + "3") // 4


@given(
    st.none() | st.integers(1, 10**6),
    st.none() | st.integers(1, 10**6),
    st.none() | st.integers(1, 10**6),
    st.integers(1, 128),
)
def test_output_is_never_above_any_cap(
    cap: int | None, default_cap: int | None, model_max: int | None, answers: int
) -> None:
    asked = {"n": str(answers)} | ({} if cap is None else {"max_tokens": str(cap)})
    most = size(**asked).most_output_tokens(default_cap, model_max)
    own = cap if cap is not None else default_cap
    known = [each for each in (own, model_max) if each is not None]
    assert most == (answers * min(known) if known else None)


@given(
    st.text(max_size=200),
    st.none() | st.integers(1, 5000),
    st.integers(1, 5),
    st.integers(0, 3000),
    st.none() | st.integers(1, 5000),
)
def test_the_estimate_is_a_quarter_of_the_bytes_and_all_answers(
    content: str, cap: int | None, answers: int, assumed: int, model_max: int | None
) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": content}], "n": answers}
    if cap is not None:
        body["max_completion_tokens"] = cap
    texts = {name: json.dumps(value) for name, value in body.items()}
    found = size(**texts)
    length = sum(len(text.encode()) for text in texts.values())
    answer = min(x for x in (assumed if cap is None else cap, model_max) if x is not None)
    assert found.likely_tokens(assumed, model_max) == -(-length // 4) + answers * answer
    assert found.most_prompt_tokens == length


def test_pictures_count_as_what_they_are_taken_for() -> None:
    picture = "data:image/png;base64," + "A" * 10_000
    content = [{"type": "image_url", "image_url": {"url": picture}}] * 2 + [{"type": "text", "text": "see"}]
    messages = json.dumps([{"role": "user", "content": content}])
    found = size(messages=messages)
    assert found.media == 2
    text = len(messages) - found.media_bytes
    assert text < 400
    assert found.likely_tokens(0) == -(-text // 4) + 2 * MEDIA_TOKENS
    assert found.most_prompt_tokens == len(messages)
