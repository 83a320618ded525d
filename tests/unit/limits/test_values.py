from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.values import UNLIMITED, Bounds, Dimensions

DEFAULT = Bounds(rpm=60, tpm=None, concurrency=0)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, DEFAULT),
        ({"rpm": None, "tpm": 0, "concurrency": 3}, Bounds(None, 0, 3)),
        ({"rpm": UNLIMITED, "tpm": UNLIMITED - 1}, Bounds(None, UNLIMITED - 1, 0)),
        ({"rpm": 10**30}, Bounds(None, None, 0)),
    ],
)
def test_what_a_key_names_and_the_default_for_the_rest(
    named: dict[str, int | None], expected: Bounds
) -> None:
    assert Bounds.of(named, DEFAULT) == expected


words = st.text(st.characters(exclude_characters="\x1f"))


@given(st.builds(Dimensions, words, words, words, words, words, words))
def test_dimensions_come_back_as_they_were(dimensions: Dimensions) -> None:
    assert Dimensions.split(dimensions.joined()) == dimensions


def test_a_separator_within_is_a_space() -> None:
    joined = Dimensions("k", alias="a\x1fb", team="\x1f").joined()
    assert Dimensions.split(joined) == Dimensions("k", alias="a b", team=" ")
