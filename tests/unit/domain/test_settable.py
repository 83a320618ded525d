"""Structs whose fields are set for each request behave as all structs do."""

from __future__ import annotations

import gc
import weakref

import msgspec
import pytest

from gateway.domain.facts import Facts, Tried
from gateway.domain.settable import settable


@settable
class _Link(msgspec.Struct, weakref=True):
    held: list[object]
    other: object = None


def test_a_field_is_set_and_read_back() -> None:
    facts = Facts("req_1", 0.0)
    facts.alias = "support"
    facts.tried.append(Tried("openai", "ft:gpt"))
    facts.tried[0].outcome = "committed"
    assert (facts.alias, facts.tried[0].outcome) == ("support", "committed")


def test_a_name_that_is_no_field_is_refused() -> None:
    with pytest.raises(AttributeError):
        Facts("req_1", 0.0).alais = "support"  # type: ignore[attr-defined]  # the mistake is the point


def test_replacing_and_encoding_know_what_was_set() -> None:
    link = _Link([])
    link.other = "b"
    assert msgspec.json.encode(msgspec.structs.replace(link, held=[1])) == b'{"held":[1],"other":"b"}'


def test_two_that_hold_each_other_are_collected() -> None:
    first, second = _Link([]), _Link([])
    first.other, second.other = second, first
    seen = weakref.ref(first)
    del first, second
    gc.collect()
    assert seen() is None
