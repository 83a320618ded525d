"""What a hold sends is what its admission and its settlement would be sent as."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.bill import Bill
from gateway.accounting.hold import NO_SIZE, FreeHold, Hold
from gateway.accounting.terms import KeptTerms
from gateway.domain.call import CHAT, Call
from gateway.domain.errors import GatewayError
from gateway.domain.facts import Facts, Tried
from gateway.domain.plan import Candidate, Target
from gateway.domain.principal import Principal
from gateway.domain.usage import Usage
from gateway.limits.estimate import size_of
from gateway.limits.values import Admission, Bounds
from gateway.metering.record import LedgerRecord
from gateway.snapshot import Snapshot
from gateway.store import account_wire
from gateway.store.account_scripts import AccountScripts
from gateway.store.accounts import AccountStore
from gateway.store.client import Store
from gateway.store.scripts import Script
from tests.unit.pricing.books import book

SCRIPTS = AccountScripts.load()
BOOK = book("""
prices:
  cheap: {input: 1, output: 2}
  dear: {input: 3, output: 10}
""")
CANDIDATES = (Candidate("own", "cheap"), Candidate("own", "dear"), Candidate("own", "nobody-knows"))
TARGET = Target("support", "support", "support@1/stable", CANDIDATES)

Sent = tuple[Script, str, bytes, float | None]


class Book:
    """Stands for the store's client: writes down what is sent, and where it would go."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def way(self, script: Script, key: str) -> Callable[..., Awaitable[Any]]:
        async def reply() -> int:
            return 1

        def send(packed: bytes, timeout_s: float | None = None) -> Awaitable[Any]:
            self.sent.append((script, key, packed, timeout_s))
            return reply()

        return send


class Desk:
    """Writes down what is settled."""

    def __init__(self) -> None:
        self.settled: list[Bill] = []

    def clock(self) -> float:
        return 12.5

    def name_of(self, error: GatewayError) -> str:
        raise AssertionError(error)

    async def admit(self, hold: Hold) -> Hold:
        return hold

    async def end(self, bill: Bill) -> None:
        self.settled.append(bill)

    async def end_uncounted(self, bill: Bill) -> None:
        raise AssertionError(bill)

    async def withdraw(self, hold: Hold) -> None:
        raise AssertionError(hold)


def snapshot() -> Snapshot:
    settings = SimpleNamespace(limits=SimpleNamespace(assumed_output_tokens=512))
    made = SimpleNamespace(settings=settings, default_bounds=Bounds(rpm=60), prices=BOOK)
    return cast("Snapshot", made)


NOW = snapshot()
names = (
    st.none()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(['"', "\\", '"key":', ',"route":', '\\","route":"', "\n"])
)
limits = st.none() | st.integers(0, 10**9 + 1)
principals = st.builds(
    Principal,
    key_id=st.sampled_from(["07abcdefghij", "63zzzzzzzzzz"]),
    name=st.just("tests"),
    team=names,
    revision=st.integers(1, 10**6),
    limits=st.dictionaries(st.sampled_from(["rpm", "tpm", "concurrency"]), limits),
    budget_nanousd=st.none() | st.integers(0, 10**15),
    budget_period=st.sampled_from(["day", "month", "total"]),
    has_credit=st.booleans(),
)
fields = st.fixed_dictionaries(
    {"messages": st.sampled_from([b"[]", b'[{"role":"user","content":"Hello"}]', b'["image_url"]'])},
    optional={"max_tokens": st.sampled_from([b"1", b"700"]), "n": st.sampled_from([b"1", b"3"])},
)
tokens = st.integers(0, 10**12)
usages = st.builds(Usage, tokens, tokens, tokens, tokens, tokens)


def hold_of(
    principal: Principal, body: dict[str, bytes], facts: Facts, *, is_free: bool = False
) -> tuple[Hold, Book, Desk]:
    sent, desk = Book(), Desk()
    call = Call(
        CHAT, {name: msgspec.Raw(value) for name, value in body.items()}, "support", stream=facts.stream
    )
    accounts = AccountStore(cast("Store", sent), SCRIPTS)
    terms = KeptTerms(accounts, "1-a").of(call, TARGET, principal, NOW)
    if is_free:
        hold: Hold = FreeHold(desk, call, NO_SIZE, terms, facts, terms.held, 0)
    else:
        hold = Hold(desk, call, size_of(call), terms, facts, terms.held, 0)
    hold.weigh()
    return hold, sent, desk


def facts_of(**known: Any) -> Facts:
    return Facts("req_1", 1.25, alias="support", release="support@1/stable", route=CHAT.name, **known)


def finish(sending: Awaitable[Any] | Coroutine[Any, Any, Any]) -> None:
    with pytest.raises(StopIteration):
        sending.__await__().__next__()


@given(principals, fields, st.booleans())
def test_an_admission(principal: Principal, body: dict[str, bytes], is_free: bool) -> None:
    hold, book, _ = hold_of(principal, body, facts_of(), is_free=is_free)

    finish(hold.ask())

    asked = hold.admission()
    key, packed = account_wire.admit_command(SCRIPTS.admit, asked)
    assert book.sent == [(SCRIPTS.admit, key, packed, None)]
    assert (asked.request_id, asked.key_id, asked.process) == ("req_1", principal.key_id, "1-a")
    if is_free:
        assert (asked.tokens, asked.bound_nanousd) == (0, 0)
    else:
        assert (asked.bound_nanousd is not None) is principal.pays


@given(
    principals,
    st.sampled_from(CANDIDATES),
    usages,
    st.fixed_dictionaries(
        {},
        optional={
            "upstream_request_id": names,
            "service_tier": st.none() | st.just("flex"),
            "error_type": st.none() | st.just("stream_truncated"),
            "cache": st.sampled_from([None, "miss", "hit", "shared"]),
            "fallback": st.sampled_from([None, "none", "timeout"]),
            "saved_nanousd": st.integers(0, 10**12),
            "stream": st.booleans(),
            "first_token_at": st.none() | st.floats(1.25, 12.5),
        },
    ),
    st.integers(0, 2**45),
)
def test_a_settlement(
    principal: Principal, served_by: Candidate, usage: Usage, known: dict[str, Any], admitted_ms: int
) -> None:
    facts = facts_of(
        model=served_by.model,
        upstream=served_by.upstream,
        tried=[Tried(served_by.upstream, served_by.model, "committed")],
        **known,
    )
    hold, book, desk = hold_of(principal, {"messages": b"[]"}, facts)
    hold.admitted_ms = admitted_ms

    finish(hold.settle(usage, None))
    (bill,) = desk.settled
    finish(bill.send(0.25))

    whole = bill.settlement()
    record = LedgerRecord.decode(whole.record)
    key, packed = account_wire.settle_command(SCRIPTS.settle, whole)
    assert book.sent == [(SCRIPTS.settle, key, packed, 0.25)]
    assert (whole.key_id, whole.admitted_ms, whole.state) == (principal.key_id, admitted_ms, "exact")
    assert whole.counters == record.counters()
    assert msgspec.json.encode(bill.record) == record.encode()  # byte for byte
    happened = (record.model, record.upstream, record.upstream_request_id, record.cache, record.fallback)
    assert happened == (
        facts.model,
        facts.upstream,
        facts.upstream_request_id,
        facts.cache,
        facts.fallback,
    )
    assert (record.service_tier, record.error_type) == (facts.service_tier, facts.error_type)
    assert (record.state, record.usage_source, record.price_version) == ("exact", "upstream", BOOK.version)
    counted = (record.prompt_tokens, record.cached_tokens, record.cache_write_tokens)
    assert counted == (usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens)
    written = (record.completion_tokens, record.reasoning_tokens)
    assert written == (usage.completion_tokens, usage.reasoning_tokens)
    assert (record.ts, record.request_id) == (admitted_ms / 1000, "req_1")
    assert record.saved_nanousd == facts.saved_nanousd
    assert (record.ttft_ms is None) is (facts.first_token_at is None)
    assert record.duration_ms == 11_250
    told = (record.alias, record.release, record.route, record.stream, record.team, record.key)
    asked = (facts.alias, facts.release, facts.route, facts.stream, principal.team, principal.key_id)
    assert told == asked
    assert (record.cost_nanousd is None) is (served_by is CANDIDATES[2] or facts.service_tier is not None)


def test_it_is_settled_once() -> None:
    hold, _, desk = hold_of(Principal("07abcdefghij", "tests"), {"messages": b"[]"}, facts_of())
    finish(hold.settle_unserved())
    finish(hold.settle(Usage(1, 1), None))
    finish(hold.settle_free())
    assert [record.state for record in desk.settled] == ["released"]


def test_other_terms_are_asked_for_anew() -> None:
    """As where the store says that the key has changed."""
    hold, _, _ = hold_of(Principal("07abcdefghij", "tests", has_credit=True), {"messages": b"[]"}, facts_of())
    finish(hold.ask())
    assert hold.bound_nanousd
    other, _, _ = hold_of(Principal("07abcdefghij", "tests", revision=2), {"messages": b"[]"}, facts_of())
    hold.change(other.terms)
    asked: Admission = hold.admission()
    assert (asked.revision, asked.bound_nanousd, asked.has_credit) == (2, None, False)
    assert hold.held is other.terms.held
