"""What a call holds: never less than it can cost, wherever it goes and whatever is filled in for it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.quote import (
    UNKNOWN_MAX_TOKENS,
    cap_of,
    longest_answer,
    most_expensive,
    payable,
)
from gateway.domain.call import CHAT, Call
from gateway.domain.errors import InvalidRequest, PriceUnknown
from gateway.domain.plan import Candidate, Reason, Rewrite, Target
from gateway.domain.principal import Principal
from gateway.limits.estimate import size_of
from tests.unit.pricing.books import book

BOOK = book("""
prices:
  cheap: {input: 1, output: 2}
  dear: {input: 3, output: 10}
""")
CHEAP, DEAR, UNPRICED = (Candidate("own", name) for name in ("cheap", "dear", "nobody-knows"))
MINI = Candidate("openai", "gpt-4.1-mini")


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def call(**values: Any) -> Call:
    return Call(CHAT, {name: raw(value) for name, value in values.items()}, "m")


def target(*candidates: Candidate, **given: Any) -> Target:
    return Target("support", "support", "support@1/stable", candidates, **given)


def most(asked: Call, to: Target, prompt: int = 0, **of_key: Any) -> int:
    principal = Principal("07k", "name", budget_nanousd=1, **of_key)
    return most_expensive(asked, size_of(asked), to, principal, BOOK, prompt)


caps = st.none() | st.integers(1, 10**6)


@given(caps, caps, st.none() | st.integers(1, 20), caps, caps, st.integers(0, 10**6))
def test_it_is_the_dearest_target_with_the_longest_answers(
    max_tokens: int | None,
    max_completion_tokens: int | None,
    n: int | None,
    cap_of_alias: int | None,
    cap_of_key: int | None,
    prompt: int,
) -> None:
    asked = call(max_tokens=max_tokens, max_completion_tokens=max_completion_tokens, n=n)
    to = target(CHEAP, DEAR, UNPRICED, max_output_tokens=cap_of_alias)
    own = [cap for cap in (max_tokens, max_completion_tokens) if cap is not None]
    operators = [cap for cap in (cap_of_alias, cap_of_key) if cap is not None]
    answer = max(own) if own else min(operators, default=UNKNOWN_MAX_TOKENS)
    expected = prompt * 3000 + (n or 1) * answer * 10_000
    assert most(asked, to, prompt, max_output_tokens=cap_of_key) == expected


@pytest.mark.parametrize("cap", [None, 10**9, 32_769])
def test_no_answer_is_longer_than_the_models_own(cap: int | None) -> None:
    at_most = most(call(max_tokens=32_768), target(MINI))
    assert at_most > 0
    assert most(call(max_tokens=cap), target(MINI)) == at_most
    assert most(call(max_tokens=32_767), target(MINI)) < at_most


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True])
def test_what_the_official_api_refuses_is_not_priced(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest):
        most(call(**{name: value}), target(CHEAP))


def test_what_the_operator_fills_in_counts_like_the_callers_own() -> None:
    filled = target(CHEAP, defaults=(("max_tokens", raw(50)), ("n", raw(2))))
    added = len("50") + len("2")
    assert most(call(), filled) == added * 1000 + 2 * 50 * 2000
    assert most(call(max_tokens=10, n=1), filled) == 10 * 2000
    system = b"You are brief."
    rewrite = Rewrite("short", set=(("max_tokens", raw(7)),), system_message=system)
    rewritten = target(Candidate("own", "cheap", rewrite=rewrite))
    assert most(call(max_tokens=10), rewritten) == (1 + len(system)) * 1000 + 7 * 2000


def test_a_target_that_will_not_serve_is_not_counted() -> None:
    disabled = Candidate("own", "dear", skip=Reason.DISABLED)
    assert most(call(max_tokens=10), target(CHEAP, disabled)) == 10 * 2000


def test_what_has_no_price_is_left_out_for_keys_that_pay() -> None:
    to = target(CHEAP, DEAR)
    assert payable(call(), to, BOOK) is to
    left = payable(call(), target(UNPRICED, CHEAP), BOOK)
    assert [candidate.skip for candidate in left.candidates] == [Reason.PRICE_UNKNOWN, None]
    with pytest.raises(PriceUnknown):
        payable(call(), target(UNPRICED), BOOK)


@pytest.mark.parametrize(
    ("alias", "key", "cap"), [(None, None, None), (5, None, 5), (None, 7, 7), (5, 7, 5), (9, 7, 7)]
)
def test_the_smaller_cap_of_alias_and_key_holds(alias: int | None, key: int | None, cap: int | None) -> None:
    assert cap_of(target(CHEAP, max_output_tokens=alias), Principal("07k", "n", max_output_tokens=key)) == cap


def test_the_longest_answer_is_known_only_where_all_are() -> None:
    assert longest_answer(target(MINI, Candidate("openai", "gpt-4o"))) == 32_768
    assert longest_answer(target(MINI, CHEAP)) is None
