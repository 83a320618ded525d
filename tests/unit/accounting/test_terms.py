"""Terms are made once for what is alike, and anew for whatever is not."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from gateway.accounting import terms as module
from gateway.accounting.terms import KeptTerms
from gateway.domain.call import CHAT, EMBEDDINGS, Call
from gateway.domain.plan import Candidate, Reason, Target
from gateway.domain.principal import Principal
from gateway.limits.values import Bounds, Budget
from gateway.metering.record import Basis
from gateway.snapshot import Snapshot
from gateway.store.accounts import AccountStore
from gateway.store.client import Store

CALL = Call(CHAT, {}, "support")
GONE, HERE = Candidate("openai", "old", skip=Reason.SUNSET), Candidate("azure", "gpt-4.1-mini")
TARGET = Target("support", "support", "support@1/stable", (GONE, HERE))
PRINCIPAL = Principal("07abcdefghij", "tests", team="blue", limits={"rpm": 5})


class Configuration(SimpleNamespace):
    """As much of a snapshot as terms are made of."""


def snapshot(**bounds: int) -> Snapshot:
    limits = SimpleNamespace(assumed_output_tokens=7)
    made = Configuration(
        settings=SimpleNamespace(limits=limits),
        default_bounds=Bounds(**bounds),
        prices=SimpleNamespace(version="v1"),
    )
    return cast("Snapshot", made)


NOW = snapshot(tpm=9)


def kept_terms() -> KeptTerms:
    return KeptTerms(AccountStore(Store("redis://127.0.0.1:1")), "1-a")


def test_what_they_say() -> None:
    principal = replace(PRINCIPAL, budget_nanousd=3, budget_period="day", max_output_tokens=11)
    terms = kept_terms().of(CALL, TARGET, principal, NOW)
    assert (terms.bounds, terms.asked.budget, terms.pays) == (Bounds(rpm=5, tpm=9), Budget(3, "day"), True)
    assert (terms.held.target, terms.held.cap, terms.likely_output_tokens) == (TARGET, 11, 7)
    assert terms.longest_answer == 32_768
    assert Basis.decode(terms.asked.basis) == Basis(
        route="chat.completions",
        team="blue",
        alias="support",
        release="support@1/stable",
        model="gpt-4.1-mini",
        upstream="azure",
        price_version="v1",
    )


def test_the_same_call_finds_them() -> None:
    kept = kept_terms()
    again = msgspec.structs.replace(CALL, fields={"n": msgspec.Raw(b"2")})
    assert kept.of(CALL, TARGET, PRINCIPAL, NOW) is kept.of(again, TARGET, PRINCIPAL, NOW)
    assert kept.of(CALL, replace(TARGET), PRINCIPAL, NOW) is kept.of(CALL, TARGET, PRINCIPAL, NOW)


@pytest.mark.parametrize(
    "other",
    [
        {"call": Call(EMBEDDINGS, {}, "support")},
        {"call": Call(CHAT, {}, "support", stream=True)},
        {"target": replace(TARGET, candidates=(HERE,))},
        {"target": replace(TARGET, name="other")},
        {"principal": replace(PRINCIPAL, revision=2)},
        {"principal": replace(PRINCIPAL, key_id="08abcdefghij")},
        {"snapshot": snapshot(tpm=10)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_differs_has_its_own(other: dict[str, Any]) -> None:
    kept = kept_terms()
    call = {"call": CALL, "target": TARGET, "principal": PRINCIPAL, "snapshot": NOW}
    first = kept.of(**call)
    second = kept.of(**call | other)
    assert second is not first
    found = (second.target, second.principal, second.snapshot)
    asked = call | other
    assert found == (asked["target"], asked["principal"], asked["snapshot"])


def test_a_former_configuration_is_let_go() -> None:
    kept, former = kept_terms(), snapshot(tpm=1)
    for number in range(3):
        kept.of(CALL, TARGET, replace(PRINCIPAL, key_id=f"07{number}"), former)
    watched = weakref.ref(former)
    kept.of(CALL, TARGET, PRINCIPAL, NOW)
    del former
    gc.collect()
    assert watched() is None


def test_they_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    kept = kept_terms()
    for number in range(10):
        kept.of(CALL, TARGET, replace(PRINCIPAL, key_id=f"07{number}"), NOW)
    assert len(kept._kept) <= 3
