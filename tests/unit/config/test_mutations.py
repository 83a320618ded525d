"""Whatever becomes of a file, it gives settings or problems, never another exception."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import ConfigError, check
from tests.unit.config.loading import loaded
from tests.unit.config.test_models import EVERY_FIELD
from tests.unit.config.test_validation import EVERYWHERE

FULL = """\
server: {port: 1, host: "::1"}
store: {url: "redis://u:p@h:1/2"}
upstreams: &u
  a: &a {base_url: "https://h/v1", api_keys: ["${K}", "x"], owns: [acme], headers: {x-a: b}}
  b: {<<: *a, models: {v3: {set: {x: [1, {y: null}]}}}, shutdown_dates: {m: 2027-01-14}}
  c: {kind: demo, models: [m, "n*"], timeouts: {idle_s: 1.5}}
aliases:
  s: {model: "ft:m:acme::x", upstreams: {a: 1, b: 2}, fallbacks: [base, t, {model: m, rewrite: r}]}
  t: {model: m, upstreams: [c], timeouts: {idle_s: 5}, defaults: {temperature: 0.5}}
rewrites: {r: {drop: [a], rename: {b: c}, set: {d: ${K}}, system_prompt: hello}}
"""
TEXTS = [EVERY_FIELD, EVERYWHERE, FULL]
ENV = {"K": "1", "S": "s", "O": "o"}


def survives(text: str) -> None:
    try:
        problems = check(loaded(text, ENV))
    except ConfigError as error:
        problems = error.problems
        if not problems:
            raise
    assert all(str(problem).isprintable() for problem in problems)


pieces = st.sampled_from(
    ["{", "}", "[", "]", ": ", "\n", "- ", "&x ", "*x", "${", "}", "~", "!!", "'", '"', "#", "|", "\t"]
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_text_that_is_cut_and_pasted(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 12))
        text = text[:start] + data.draw(pieces | st.text(max_size=4)) + text[end:]
    survives(text)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    survives(text)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["${K}", "base"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """The value with `by` at `path`."""
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


PLAIN = {
    "server": {"port": 1},
    "upstreams": {
        "a": {"base_url": "https://h", "api_keys": ["k"], "owns": ["acme"], "headers": {"x": "y"}},
        "b": {"kind": "demo", "models": {"v3": {"set": {"x": 1}}}, "timeouts": {"idle_s": 1}},
    },
    "aliases": {
        "s": {
            "model": "ft:m:acme::x",
            "upstreams": ["a"],
            "fallbacks": ["base", {"model": "t", "rewrite": "r"}],
        },
        "t": {"model": "m", "upstreams": {"a": 1, "b": 2}, "fallback_on": ["connect"], "rewrite": "r"},
    },
    "rewrites": {"r": {"drop": ["a"], "rename": {"b": "c"}}},
    "prices": {"m": {"input": 1, "output": 1}},
    "limits": {"default": {"rpm": 1}},
}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(places(PLAIN)), values, st.sampled_from(places(PLAIN)), values)
def test_values_that_stand_where_they_do_not_belong(
    first: tuple[Any, ...], one: Any, second: tuple[Any, ...], other: Any
) -> None:
    data = replaced(PLAIN, first, one)
    if second in places(data):
        data = replaced(data, second, other)
    survives(json.dumps(data))
