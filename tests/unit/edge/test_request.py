"""Bodies and headers of callers: what is read, what is refused, and that the rest passes untouched."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.call import CHAT, COMPLETIONS, EMBEDDINGS
from gateway.domain.errors import InvalidRequest
from gateway.edge.request import options_of, parse_call

MESSAGES = [{"role": "user", "content": "hi"}]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "support", "messages": MESSAGES} | fields).encode()


def nested(levels: int) -> bytes:
    """A body with so many levels, its own two included."""
    return b'{"model":"m","messages":[' + b'{"a":' * (levels - 2) + b"1" + b"}" * (levels - 2) + b"]}"


def refusal(raw: bytes, route: Any = CHAT) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse_call(route, raw, 64)
    return caught.value


class TestBodies:
    def test_values_stay_the_bytes_they_were(self) -> None:
        raw = b'{"model":"m","messages":[{"content":"\\u00e9"}],"big":123456789012345678901234567890,'
        raw += b'"e":1E5,"z":[ 1 , 2 ]}'

        fields = parse_call(CHAT, raw, 64).fields

        assert bytes(fields["big"]) == b"123456789012345678901234567890"
        assert bytes(fields["e"]) == b"1E5"
        assert bytes(fields["z"]) == b"[ 1 , 2 ]"
        assert bytes(fields["messages"]) == b'[{"content":"\\u00e9"}]'

    def test_what_the_gateway_reads(self) -> None:
        call = parse_call(CHAT, body(stream=True, n=3, stream_options={"include_usage": True}), 64)

        assert (call.model, call.stream, call.wants_usage, call.choices) == ("support", True, True, 3)

    def test_defaults(self) -> None:
        call = parse_call(CHAT, body(stream=None, n=None, stream_options=None), 64)

        assert (call.stream, call.wants_usage, call.choices) == (False, False, 1)

    @pytest.mark.parametrize("n", [0, -1, 1.5, 1e9, 10**30])
    def test_odd_counts_pass_and_mean_something_sane(self, n: float) -> None:
        assert 1 <= parse_call(CHAT, body(n=n), 64).choices <= 10**6


class TestRefusals:
    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"  ",
            b"{",
            b"nonsense",
            b"null",
            b"[]",
            b'"text"',
            b'{"model":"m","messages":[{"content":"a\x00b"}]}',
            b'{"model":"m","messages":[{"content":"\xff"}]}',
            b'{"model":"m","messages":[{"content":"\\ud800 alone"}]}',
            b'{"model":"m","messages":[{"content":"\\udc00"}]}',
            b'{"model":"m","messages":[{}]}\x00',
            b'{"model":"m","messages":[{}]} {}',
            b"\xef\xbb\xbf{}",
            b'{"model":"m","n":NaN}',
            nested(100),
            nested(65),
            b"[" * 100_000,
            b'{"a":' * 100_000,
        ],
    )
    def test_what_is_no_json_object(self, raw: bytes) -> None:
        assert refusal(raw).param is None

    def test_the_deepest_body_that_passes(self) -> None:
        assert parse_call(CHAT, nested(64), 64).model == "m"

    def test_brackets_inside_strings_are_no_depth(self) -> None:
        assert parse_call(CHAT, body(messages=[{"content": "[" * 200 + '\\"]['}]), 64).model == "support"

    def test_brackets_inside_strings_hide_no_depth(self) -> None:
        hiding = b'{"model":"m","messages":' + b'["]",' * 70 + b"1" + b"]" * 70 + b"}"

        assert "nested deeper" in str(refusal(hiding))

    @pytest.mark.parametrize(
        ("raw", "param"),
        [
            (b'{"messages":[{}]}', "model"),
            (b'{"model":null,"messages":[{}]}', "model"),
            (b'{"model":"","messages":[{}]}', "model"),
            (b'{"model":5,"messages":[{}]}', "model"),
            (b'{"model":["m"],"messages":[{}]}', "model"),
            (b'{"model":"m"}', "messages"),
            (b'{"model":"m","messages":null}', "messages"),
            (b'{"model":"m","messages":[]}', "messages"),
            (b'{"model":"m","messages":"hi"}', "messages"),
            (b'{"model":"m","messages":["hi"]}', "messages[0]"),
            (body(stream="yes"), "stream"),
            (body(stream=1), "stream"),
            (body(stream_options=True), "stream_options"),
            (body(n="2"), "n"),
            (body(max_tokens="many"), "max_tokens"),
            (body(max_completion_tokens=[1]), "max_completion_tokens"),
            (body(temperature="hot"), "temperature"),
            (body(tools={}), "tools"),
            (body(stop=5), "stop"),
        ],
    )
    def test_wrong_types_name_their_field(self, raw: bytes, param: str) -> None:
        assert refusal(raw).param == param

    def test_each_route_has_its_own_fields(self) -> None:
        assert refusal(b'{"model":"m"}', EMBEDDINGS).param == "input"
        assert refusal(b'{"model":"m","input":5}', EMBEDDINGS).param == "input"
        assert refusal(b'{"model":"m","prompt":{}}', COMPLETIONS).param == "prompt"
        assert parse_call(COMPLETIONS, b'{"model":"m"}', 64).model == "m"

    @given(st.binary(max_size=200))
    def test_nothing_but_a_refusal_ever_comes_of_bytes(self, raw: bytes) -> None:
        refusal(raw)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        )
    )
    def test_nothing_but_a_call_or_a_refusal_ever_comes_of_json(self, value: Any) -> None:
        raw = json.dumps({"model": "m", "messages": [value], "n": value, "stream_options": value}).encode()
        with contextlib.suppress(InvalidRequest):
            parse_call(CHAT, raw, 64)


class TestOptions:
    def test_what_headers_ask(self) -> None:
        options = options_of(
            {
                b"x-tunegate-fallback": b"never",
                b"x-tunegate-upstream": b"relay",
                b"x-tunegate-timeout-s": b"2.5",
            }
        )

        assert (options.fallback, options.pin, options.timeout_s) == (False, "relay", 2.5)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("fallback", b"maybe"),
            *(("timeout-s", v) for v in (b"", b"x", b"0", b"-1", b"nan", b"inf", b"1e99")),
        ],
    )
    def test_values_that_mean_nothing_are_refused(self, name: str, value: bytes) -> None:
        with pytest.raises(InvalidRequest) as caught:
            options_of({f"x-tunegate-{name}".encode(): value})

        assert caught.value.param == f"x-tunegate-{name}"
