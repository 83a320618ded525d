"""What leaves for an endpoint with quirks, and that nothing changes where there are none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.catalog.quirks import compile_quirks
from gateway.config.quirks import QuirkSettings
from gateway.domain.call import CHAT, COMPLETIONS, EMBEDDINGS, CallRoute

SYSTEM = {"role": "system", "content": "Be kind."}
HI = {"role": "user", "content": "hi"}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


def sent(body: dict[str, Any], route: CallRoute = CHAT, **quirks: Any) -> dict[str, Any]:
    """What becomes of a body."""
    adapt = compile_quirks(QuirkSettings(**quirks))
    assert adapt is not None
    fields = msgspec.json.decode(json.dumps(body), type=dict[str, msgspec.Raw])
    adapt(fields, route)
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(fields))
    return decoded


def messages(*given: dict[str, Any], **quirks: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent({"messages": list(given)}, **quirks)["messages"]
    return found


def test_no_quirk_no_work() -> None:
    assert compile_quirks(QuirkSettings()) is None
    assert compile_quirks(QuirkSettings(model_list=False)) is None


class TestCap:
    @pytest.mark.parametrize(
        ("body", "left"),
        [
            ({"max_completion_tokens": 5}, {"max_tokens": 5}),
            ({"max_tokens": 5}, {"max_tokens": 5}),
            ({"max_tokens": 5, "max_completion_tokens": 9}, {"max_tokens": 5}),
            ({"max_tokens": None, "max_completion_tokens": 9}, {"max_tokens": 9}),
            ({"max_completion_tokens": None}, {}),
            ({}, {}),
        ],
    )
    def test_as_max_tokens(self, body: dict[str, Any], left: dict[str, Any]) -> None:
        assert sent(body, max_tokens="max_tokens") == left

    def test_as_max_completion_tokens(self) -> None:
        assert sent({"max_tokens": 5}, max_tokens="max_completion_tokens") == {"max_completion_tokens": 5}

    def test_other_routes_have_one_name_anyway(self) -> None:
        body = {"prompt": "x", "max_tokens": 5}
        assert sent(body, COMPLETIONS, max_tokens="max_completion_tokens") == body


class TestFields:
    def test_one_answer_is_what_everyone_gives(self) -> None:
        assert sent({"n": 1}, n=False) == sent({"n": None}, n=False) == sent({}, n=False) == {}

    def test_more_answers_are_asked_for_all_the_same(self) -> None:
        """The endpoint says no, in its words: fewer answers than asked for would be a surprise."""
        assert sent({"n": 3}, n=False) == {"n": 3}

    @pytest.mark.parametrize(("given", "left"), [(0, 0.01), (0.0, 0.01), (0.01, 0.01), (1, 1), (None, None)])
    def test_temperature(self, given: float | None, left: float | None) -> None:
        assert sent({"temperature": given}, min_temperature=0.01) == {"temperature": left}

    @pytest.mark.parametrize(("given", "left"), [(1, 0.99), (1.0, 0.99), (0.5, 0.5), ("x", "x")])
    def test_top_p(self, given: object, left: object) -> None:
        assert sent({"top_p": given}, max_top_p=0.99) == {"top_p": left}

    def test_what_is_refused_is_left_out_on_every_route(self) -> None:
        body = {"input": "x", "user": "u", "store": True}
        assert sent(body, EMBEDDINGS, refuses=["user", "store"]) == {"input": "x"}

    @pytest.mark.parametrize("field", ["n", "max_tokens", "max_completion_tokens", "stream_options"])
    def test_what_has_a_setting_of_its_own_is_not_refused(self, field: str) -> None:
        with pytest.raises(ValidationError, match="say "):
            QuirkSettings(refuses=(field,))

    @pytest.mark.parametrize("field", ["model", "messages", "stream"])
    def test_nor_what_a_call_is(self, field: str) -> None:
        with pytest.raises(ValidationError, match="the call itself decides"):
            QuirkSettings(refuses=(field,))

    def test_tools_are_not_strict(self) -> None:
        schema = {"type": "object", "properties": {"strict": {"type": "boolean"}}}
        tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}
        found = sent({"tools": [tool]}, strict_tools=False)
        assert found == {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}

    @pytest.mark.parametrize("tools", [None, 3, [], [{}], [{"function": 3}]])
    def test_odd_tools_stay(self, tools: Any) -> None:
        assert sent({"tools": tools}, strict_tools=False) == {"tools": tools}


class TestMessages:
    def test_developers_are_systems(self) -> None:
        developer = {"role": "developer", "content": "Be kind."}
        assert messages(developer, HI, developer_role=False) == [SYSTEM, HI]

    def test_reasoning_is_not_sent_back(self) -> None:
        said = {"role": "assistant", "content": "yes", "reasoning_content": "hm", "reasoning": "hm"}
        assert messages(HI, said, reasoning_content=False) == [HI, {"role": "assistant", "content": "yes"}]

    def test_names_are_left_out_but_of_functions(self) -> None:
        function = {"role": "function", "name": "f", "content": "1"}
        assert messages({**HI, "name": "ann"}, function, message_names=False) == [HI, function]

    def test_texts_are_joined(self) -> None:
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        found = messages({"role": "user", "content": parts}, content_parts=False)
        assert found == [{"role": "user", "content": "a\nb"}]

    def test_an_image_stays_a_list(self) -> None:
        parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:"}}]
        image = {"role": "user", "content": parts}
        assert messages(image, content_parts=False) == [image]

    def test_content_is_never_null(self) -> None:
        without = {key: value for key, value in CALLED.items() if key != "content"}
        found = messages(CALLED, without, HI, null_content=False)
        assert found == [{**CALLED, "content": ""}, {**CALLED, "content": ""}, HI]


class TestSystem:
    def test_one_and_in_front(self) -> None:
        later = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
        found = messages(SYSTEM, HI, later, system_messages="first")
        assert found == [{"role": "system", "content": "Be kind.\n\nBe brief."}, HI]

    def test_none_at_all(self) -> None:
        found = messages(SYSTEM, HI, system_messages="none")
        assert found == [{"role": "user", "content": "Be kind.\n\nhi"}]

    def test_none_before_an_image(self) -> None:
        image = {"type": "image_url", "image_url": {"url": "data:"}}
        found = messages(SYSTEM, {"role": "user", "content": [image]}, system_messages="none")
        assert found == [{"role": "user", "content": [{"type": "text", "text": "Be kind."}, image]}]

    def test_none_without_a_user(self) -> None:
        assert messages(SYSTEM, system_messages="none") == [{"role": "user", "content": "Be kind."}]

    @pytest.mark.parametrize("how", ["first", "none"])
    def test_without_one_nothing_changes(self, how: str) -> None:
        assert messages(HI, CALLED, system_messages=how) == [HI, CALLED]

    def test_developers_count_where_they_are_not_taken(self) -> None:
        developer = {"role": "developer", "content": "Be brief."}
        found = messages(SYSTEM, developer, HI, developer_role=False, system_messages="first")
        assert found == [{"role": "system", "content": "Be kind.\n\nBe brief."}, HI]


EVERY: dict[str, Any] = {
    "max_tokens": "max_tokens",
    "n": False,
    "min_temperature": 0.01,
    "max_top_p": 0.99,
    "developer_role": False,
    "content_parts": False,
    "null_content": False,
    "message_names": False,
    "reasoning_content": False,
    "strict_tools": False,
    "refuses": ["store"],
}
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_odd = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("messages", "tools", "n", "temperature", "top_p", "max_tokens", "max_completion_tokens"), _json
    ),
)
_message = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("role", "content", "name", "reasoning", "tool_calls"), _json)
)
_bodies = _odd | st.fixed_dictionaries({"messages": st.lists(_message | st.just(HI), max_size=3)})


@given(body=_bodies, how=st.sampled_from(["any", "first", "none"]))
def test_odd_bodies_are_never_an_error_and_twice_is_once(body: dict[str, Any], how: str) -> None:
    once = sent(body, system_messages=how, **EVERY)
    assert sent(once, system_messages=how, **EVERY) == once


@given(text=st.text())
def test_values_that_no_quirk_is_about_stay_bytes(text: str) -> None:
    raw = json.dumps([{"role": "user", "content": text}, {"role": "assistant", "content": text}]).encode()
    adapt = compile_quirks(QuirkSettings(message_names=False, null_content=False))
    assert adapt is not None
    fields = {"messages": msgspec.Raw(raw), "seed": msgspec.Raw(b" 1e400 ")}
    adapt(fields, CHAT)
    assert json.loads(bytes(fields["messages"])) == json.loads(raw)
    assert bytes(fields["seed"]) == b" 1e400 "
