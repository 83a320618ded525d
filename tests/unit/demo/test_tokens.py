from hypothesis import given
from hypothesis import strategies as st

from gateway.demo import tokens


@given(st.text())
def test_tokens_join_to_the_text(text: str) -> None:
    assert "".join(tokens.split(text)) == text


def test_words_take_their_space_and_long_ones_take_several_tokens() -> None:
    assert tokens.split("Hi there, extraordinary") == ["Hi", " there", ",", " extraor", "dinary"]


def test_a_conversation_counts_its_framing_and_its_parts() -> None:
    plain = [{"role": "user", "content": "one two"}]
    assert tokens.count_messages(plain) == 3 + 3 + 1 + 2
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    parts = [{"role": "user", "content": [{"type": "text", "text": "one two"}, image]}]
    assert tokens.count_messages(parts) == tokens.count_messages(plain) + tokens.PER_IMAGE
    call = {"function": {"name": "f", "arguments": "{}"}}
    assert tokens.count_messages([{"role": "assistant", "tool_calls": [call]}]) == 3 + 3 + 2 + 3
