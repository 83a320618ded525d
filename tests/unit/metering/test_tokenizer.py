"""Token counts without a network: those of the official tokenizer for text, estimates for prompts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.metering import tokenizer
from gateway.metering.tokenizer import PER_MESSAGE, REPLY_PRIMER, count_prompt, count_text, encoding_of

MODEL = "gpt-4o"


def body(**fields: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in fields.items()}


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-4.5-preview", "o200k_base"),
        ("o4-mini", "o200k_base"),
        ("gpt-5-nano", "o200k_base"),
        ("gpt-6-luna", "o200k_base"),
        ("gpt-oss-20b", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        # a tokenizer that goes by prefixes takes the next three for gpt-4, for nothing, for nothing
        ("ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123", "o200k_base"),
        ("ft:o4-mini-2025-04-16:acme:sec:xyz", "o200k_base"),
        ("davinci:ft-personal-2023-05-23-20-00-00", "o200k_base"),
        ("ft:gpt-4o-mini-2024-07-18:acme:s:x:ckpt-step-2000", "o200k_base"),
        ("gpt-4.1-mini-2025-04-14.ft-b044a9d3cf9c4228b5d393567f693b83", "o200k_base"),
        ("support-v3", "o200k_base"),
        ("", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-4-1106-preview", "cl100k_base"),
        ("ft:gpt-4-0613:acme::x", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("ft:gpt-3.5-turbo-0125:acme::x", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("text-embedding-ada-002", "cl100k_base"),
        ("ft:davinci-002:acme::x", "cl100k_base"),
        ("babbage-002", "cl100k_base"),
    ],
)
def test_the_encoding_goes_by_the_base(model: str, encoding: str) -> None:
    assert encoding_of(model) == encoding


@pytest.mark.parametrize(
    ("text", "newer", "older"),
    [
        ("", 0, 0),
        ("hello world", 2, 2),
        ("The quick brown fox jumps over the lazy dog.", 10, 10),
        ("Straße, naïve café, żółć", 10, 10),
        ("数字漢字とかな", 5, 7),
        ("नमस्ते दुनिया", 5, 13),
        ("👩\u200d👩\u200d👧 🇩🇪", 12, 19),
        ("def f(x):\n    return x ** 2\n", 11, 11),
        ("   \n\n\t  ", 2, 2),
        ("1234567890", 4, 4),
        ("a" * 1000, 125, 125),
        ("HELLO camelCase snake_case don't it'll", 8, 10),
        ("\x00\u2028\x85", 4, 5),
    ],
)
def test_counts_are_those_of_tiktoken(text: str, newer: int, older: int) -> None:
    """The figures are of tiktoken 0.14 with the official ranks."""
    assert count_text(text, "gpt-4o") == newer
    assert count_text(text, "gpt-4") == older


def test_special_tokens_in_text_are_text() -> None:
    assert count_text("<|endoftext|>", MODEL) == 7
    assert count_text("<|im_start|>system<|im_end|>", MODEL) > 2


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_halves_of_letters_do_not_raise(text: str) -> None:
    assert count_text(text, MODEL) >= 1


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_counts_and_none_is_free(text: str) -> None:
    found = count_text(text, MODEL)
    assert (found >= 1) == bool(text)
    assert found <= len(text.encode())


letters = st.lists(st.sampled_from("ab1. \n\t\u00a0é漢'-!"), min_size=20, max_size=60).map("".join)


@settings(max_examples=300, deadline=None)
@given(letters, st.integers(1, 40))
def test_pieces_join_to_the_text_and_count_as_much_where_there_are_spaces(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokenizer, "_PIECE", size)
        pieces = list(tokenizer._pieces(text))
    assert "".join(pieces) == text
    assert all(len(piece) <= size for piece in pieces)
    cuts = list(pairwise(pieces))
    clean = [later.startswith(" ") and not earlier[-1].isspace() for earlier, later in cuts]
    for is_clean, (earlier, _) in zip(clean, cuts, strict=True):
        assert is_clean or not re.search(r"\S ", earlier), "there was a better place"
    ids = tokenizer._tokenizer("o200k_base")
    if all(clean):
        assert sum(len(ids(piece)) for piece in pieces) == len(ids(text))


@pytest.mark.parametrize("unit", ["a", " ", "\n", "漢", "👩\u200d👧", "-", "aB3", "e\u0301", "word and "])
def test_long_texts_take_time_in_proportion(unit: str) -> None:
    """Half a million characters of anything; a tokenizer that is quadratic would need minutes."""
    text = unit * (500_000 // len(unit))
    started = time.perf_counter()
    found = count_text(text, MODEL)
    assert time.perf_counter() - started < 5
    short = unit * (50_000 // len(unit))
    assert found == pytest.approx(10 * count_text(short, MODEL), rel=0.02)


def test_beyond_a_limit_each_byte_is_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "MOST_COUNTED", 11)
    assert count_text("hello world", MODEL) == 2
    assert count_text("hello world, żó", MODEL) == 2 + len(", żó".encode())


class TestPrompts:
    def test_the_rule_of_the_cookbook(self) -> None:
        messages = [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "name": "ada", "content": "hello world"},
        ]
        texts = sum(count_text(text, MODEL) for text in ("system", "user", "ada"))
        texts += count_text("You are a helpful assistant.", MODEL) + 2
        assert count_prompt(body(messages=messages), MODEL) == REPLY_PRIMER + 2 * PER_MESSAGE + texts + 1

    def test_the_example_of_the_cookbook(self) -> None:
        """Six messages for which the official API reported 124 tokens with gpt-4o, 129 with gpt-4."""
        system = "You are a helpful, pattern-following assistant that translates corporate jargon "
        bandwidth = "Let's circle back when we have more bandwidth to touch base on opportunities "
        said = [
            ("example_user", "New synergies will help drive top-line growth."),
            ("example_assistant", "Things working well together will increase revenue."),
            ("example_user", bandwidth + "for increased leverage."),
            ("example_assistant", "Let's talk later when we're less busy about how to do better."),
        ]
        messages = [{"role": "system", "content": system + "into plain English."}]
        messages += [{"role": "system", "name": name, "content": text} for name, text in said]
        late = "This late pivot means we don't have time to boil the ocean for the client deliverable."
        messages.append({"role": "user", "content": late})
        assert count_prompt(body(messages=messages), "gpt-4o") == 124
        assert count_prompt(body(messages=messages), "gpt-4") == 129

    def test_parts(self) -> None:
        def of(*parts: object) -> int:
            framing = REPLY_PRIMER + PER_MESSAGE + count_text("user", MODEL)
            return count_prompt(body(messages=[{"role": "user", "content": list(parts)}]), MODEL) - framing

        assert of({"type": "text", "text": "hello world"}) == 2
        assert of({"type": "refusal", "refusal": "hello world"}, "hello world") == 4
        assert of({"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}) == 3_000
        assert of({"type": "input_audio", "input_audio": {"data": "A" * 1000, "format": "mp3"}}) == 11
        assert of({"type": "file", "file": {"file_id": "file-1"}}) > 5
        assert of({"type": "text", "text": 5}, None, 7, ["x"]) > 0

    def test_images_are_dear_for_the_mini(self) -> None:
        image = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
        messages = body(messages=[{"role": "user", "content": [image]}])
        assert (
            count_prompt(messages, "ft:gpt-4o-mini-2024-07-18:acme::x")
            > 48_000
            > count_prompt(messages, MODEL)
        )

    def test_tools_and_their_calls_count_by_their_text(self) -> None:
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        messages = [{"role": "user", "content": "hi"}]
        plain = count_prompt(body(messages=messages), MODEL)
        text = count_text(msgspec.json.encode([tool]).decode(), MODEL)
        for name in ("tools", "functions", "response_format"):
            assert count_prompt(body(messages=messages, **{name: [tool]}), MODEL) == plain + text
        call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]}
        assert count_prompt(body(messages=[*messages, call]), MODEL) > plain + PER_MESSAGE + 5

    @pytest.mark.parametrize("field", ["prompt", "input"])
    def test_completions_and_embeddings(self, field: str) -> None:
        for value, tokens in [
            ("hello world", 2),
            (["hello world", "hello"], 3),
            ([1, 2, 3], 3),
            ([[1, 2], [3]], 3),
            ([], 0),
            ({"odd": 1}, 5),
            (None, 0),
        ]:
            assert count_prompt(body(**{field: value}), MODEL) == tokens

    @settings(max_examples=200, deadline=None)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["role", "content", "type", "text", "image_url", "name", "input_audio"]),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        )
    )
    def test_no_shape_raises(self, value: object) -> None:
        for name in ("messages", "prompt", "input", "tools"):
            assert count_prompt(body(**{name: value}), MODEL) >= 0

    @pytest.mark.parametrize(
        "text",
        [b'[{"role":"user","content":"half \\ud800"}]', b"[" * 400 + b"]" * 400, b'"\xff"', b"nonsense"],
    )
    def test_what_is_not_quite_json_counts_by_its_text(self, text: bytes) -> None:
        for name in ("messages", "prompt", "tools"):
            assert count_prompt({name: msgspec.Raw(text)}, MODEL) > 0


def test_a_process_that_never_counts_does_not_load_it() -> None:
    script = (
        "import sys, gateway.metering.tokenizer as t; print('splintr' in sys.modules);"
        "t.count_text('x', 'm'); print('splintr' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603 - our own script, in our own interpreter
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "True"]


def test_threads_that_count_at_the_same_moment_load_it_once() -> None:
    tokenizer._loaded.cache_clear()
    start = threading.Barrier(8)

    def load() -> int:
        start.wait()
        return id(tokenizer._tokenizer("o200k_base"))

    with ThreadPoolExecutor(8) as threads:
        found = {each.result() for each in [threads.submit(load) for _ in range(8)]}

    assert len(found) == 1
    assert tokenizer._loaded.cache_info().misses == 1
