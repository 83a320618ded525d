"""Joins three logs: what clients saw, what the upstream was asked, what the ledger says. No I/O.

Every call carries a token of its own in its user message. The upstream answers with that token as its request
id, which the ledger keeps, and a client that got headers knows the gateway's id of its call:

    client   token  x-request-id (where headers came)
    upstream token
    ledger          x-request-id  token (where the upstream's headers reached the gateway)

Calls whose process died before either side had headers have no name in the ledger. They are compared by
number for each key and kind of call: there may be no fewer such records than such dispatched calls, and no
more than there are such clients.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

RANK = {"orphaned": 0, "released": 1, "estimated": 1, "exact": 2}
"""A record is only ever corrected by one that knows more."""


@dataclass(frozen=True)
class ClientCall:
    """What a client saw of one call.

    Args:
        key: id of its virtual key.
        request_id: the answer's `x-request-id`; None where no headers came.
        status: of the answer; None likewise.
        acknowledged: the whole JSON reply, or `[DONE]`, has arrived.
        relayed: tokens of content that have arrived.
    """

    token: str
    key: str
    stream: bool
    request_id: str | None = None
    status: int | None = None
    code: str | None = None
    acknowledged: bool = False
    relayed: int = 0


@dataclass(frozen=True)
class Dispatch:
    """What the upstream was asked by calls with one token.

    Args:
        times: how many attempts reached it.
        produced: tokens of content that it has sent, by the attempt that sent most.
        told_usage: the attempt that sent most was complete, usage included.
    """

    token: str
    times: int
    produced: int
    told_usage: bool


@dataclass(frozen=True)
class Entry:
    """One entry of the ledger, in its order within the stream."""

    kind: Literal["event", "correction"]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Account:
    """How the store says a key stands: nano-dollars of all its calls, held by open ones, and its limit."""

    key: str
    used_nanousd: int
    held_nanousd: int
    limit_nanousd: int | None = None


@dataclass(frozen=True)
class Prices:
    """Nano-dollars per token."""

    prompt: int
    completion: int


@dataclass(frozen=True)
class Logs:
    """Everything there is to check.

    Args:
        open_reservations: in all shards, when all was quiet.
        counted: requests and nano-dollars in the usage counters of all days.
    """

    calls: Sequence[ClientCall]
    dispatches: Sequence[Dispatch]
    entries: Sequence[Entry]
    accounts: Sequence[Account]
    open_reservations: int
    counted: tuple[int, int]
    prices: Prices


@dataclass(frozen=True)
class Violation:
    """One broken promise. `kind` is a word of a closed list, the keys of `PROMISES`."""

    kind: str
    detail: str


PROMISES = {
    "lost": "an acknowledged call has no record",
    "doubled": "a call has more than one record",
    "unrecorded": "a dispatched call has no record",
    "unexplained": "a record belongs to no call",
    "wrong": "a record says something else than what happened",
    "refused": "a refused call has a record",
    "budget": "what a key has used is not the sum of its records, or is more than it may",
    "open": "reservations stay open",
    "counters": "the usage counters are not the sum of the records",
}


@dataclass
class Verdict:
    """What the checker found, and how much of what it has seen."""

    violations: list[Violation] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)

    def note(self, kind: str, detail: str) -> None:
        assert kind in PROMISES
        self.violations.append(Violation(kind, detail))

    @property
    def by_kind(self) -> dict[str, int]:
        return dict(Counter(violation.kind for violation in self.violations))


def check(logs: Logs) -> Verdict:
    """Everything that is wrong."""
    verdict = Verdict()
    records = _one_each(logs.entries, verdict)
    joined = _Joined(logs, records)
    _check_acknowledged(logs, joined, verdict)
    _check_dispatched(logs, joined, verdict)
    _check_records(logs, joined, verdict)
    _check_money(logs, records, verdict)
    states = Counter(str(record["state"]) for record in records.values())
    verdict.figures = {
        "requests": len(logs.calls),
        "acknowledged": sum(call.acknowledged for call in logs.calls),
        "refused": sum(_is_refused(call) for call in logs.calls),
        "without_headers": sum(call.request_id is None for call in logs.calls),
        "dispatched": len(logs.dispatches),
        "records": len(records),
        **{f"records_{state}": states[state] for state in RANK},
        "corrections": sum(entry.kind == "correction" for entry in logs.entries),
        "matched_by_number": sum(joined.nameless_records.values()),
        "violations": len(verdict.violations),
    }
    return verdict


def _one_each(entries: Iterable[Entry], verdict: Verdict) -> dict[str, Mapping[str, Any]]:
    """The record that holds for each request id."""
    records: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        request_id = entry.record["request_id"]
        earlier = records.get(request_id)
        if entry.kind == "event" and earlier is not None:
            verdict.note("doubled", f"{request_id}: {earlier['state']}, then {entry.record['state']}")
        if entry.kind == "correction":
            if earlier is None:
                verdict.note("wrong", f"{request_id}: a correction of nothing")
            elif RANK[entry.record["state"]] <= RANK[earlier["state"]]:
                verdict.note(
                    "doubled", f"{request_id}: {earlier['state']} corrected to {entry.record['state']}"
                )
        records[request_id] = entry.record
    return records


Kind = tuple[str, bool]
"""Key and whether it is a stream: known of every call on all three sides."""


class _Joined:
    """The logs, joined by all the names there are."""

    def __init__(self, logs: Logs, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.calls = {call.token: call for call in logs.calls}
        self.dispatches = {dispatch.token: dispatch for dispatch in logs.dispatches}
        self.records = records
        self.call_of = {call.request_id: call for call in logs.calls if call.request_id is not None}
        self.ids_of_token: defaultdict[str, list[str]] = defaultdict(list)
        for request_id, record in records.items():
            if token := record.get("upstream_request_id"):
                self.ids_of_token[token].append(request_id)
        nameless = [
            record
            for request_id, record in records.items()
            if request_id not in self.call_of and not record.get("upstream_request_id")
        ]
        self.nameless_records: Counter[Kind] = Counter((r["key"], bool(r["stream"])) for r in nameless)
        self.nameless_calls: Counter[Kind] = Counter(
            (call.key, call.stream)
            for call in logs.calls
            if call.request_id is None and not self.ids_of_token.get(call.token)
        )

    def record_of(self, call: ClientCall) -> Mapping[str, Any] | None:
        if call.request_id is not None:
            return self.records.get(call.request_id)
        ids = self.ids_of_token.get(call.token)
        return self.records[ids[0]] if ids else None


def _check_acknowledged(logs: Logs, joined: _Joined, verdict: Verdict) -> None:
    for call in logs.calls:
        if not call.acknowledged:
            continue
        record = joined.record_of(call)
        if record is None:
            verdict.note("lost", f"{call.request_id} ({call.token})")
        elif record["state"] not in ("exact", "estimated"):
            verdict.note("wrong", f"{call.request_id} was acknowledged, and is {record['state']}")


def _check_dispatched(logs: Logs, joined: _Joined, verdict: Verdict) -> None:
    nameless: Counter[Kind] = Counter()
    for dispatch in logs.dispatches:
        call = joined.calls[dispatch.token]
        ids = joined.ids_of_token.get(dispatch.token, [])
        if len(ids) > 1:
            verdict.note("doubled", f"{dispatch.token}: {', '.join(ids)}")
        if joined.record_of(call) is not None:
            continue
        if call.request_id is not None:
            if not call.acknowledged:  # else it is lost, and said to be
                verdict.note("unrecorded", f"{call.request_id} ({call.token})")
        else:
            nameless[call.key, call.stream] += 1
    for kind, count in nameless.items():
        if count > joined.nameless_records[kind]:
            missing = count - joined.nameless_records[kind]
            verdict.note("unrecorded", f"{missing} calls without headers of key, stream = {kind}")


def _check_records(logs: Logs, joined: _Joined, verdict: Verdict) -> None:
    for request_id, record in joined.records.items():
        token = record.get("upstream_request_id")
        call = joined.call_of.get(request_id) or (joined.calls.get(token) if token else None)
        if call is None:
            if token:
                verdict.note("unexplained", f"{request_id}: its token {token} is nobody's")
            continue
        if token not in (None, call.token) or record["key"] != call.key:
            verdict.note(
                "wrong", f"{request_id} is {call.token} of {call.key}, not {token} of {record['key']}"
            )
            continue
        if _is_refused(call) and record["state"] != "orphaned":
            verdict.note("refused", f"{request_id}: {call.status} {call.code}, and {record['state']}")
        _check_tokens(request_id, record, call, joined.dispatches.get(call.token), logs.prices, verdict)
    for kind, count in joined.nameless_records.items():
        if count > joined.nameless_calls[kind]:
            more = count - joined.nameless_calls[kind]
            verdict.note("unexplained", f"{more} records of key, stream = {kind}")


def _check_tokens(
    request_id: str,
    record: Mapping[str, Any],
    call: ClientCall,
    dispatch: Dispatch | None,
    prices: Prices,
    verdict: Verdict,
) -> None:
    state, completion = record["state"], record.get("completion_tokens")
    if state == "orphaned":  # charged what was reserved, which is no less
        return
    produced = dispatch.produced if dispatch else 0
    if not call.relayed <= (completion or 0) <= max(produced, call.relayed):
        verdict.note(
            "wrong", f"{request_id}: {call.relayed} relayed, {completion} charged, {produced} produced"
        )
    if state == "exact" and not (dispatch and dispatch.told_usage):
        verdict.note("wrong", f"{request_id}: exact, but its upstream told no usage")
    cost = (record.get("prompt_tokens") or 0) * prices.prompt + (completion or 0) * prices.completion
    if record["cost_nanousd"] != cost:
        verdict.note("wrong", f"{request_id}: costs {record['cost_nanousd']}, not {cost}")


def _check_money(logs: Logs, records: Mapping[str, Mapping[str, Any]], verdict: Verdict) -> None:
    sums: Counter[str] = Counter()
    for record in records.values():
        sums[record["key"]] += record["cost_nanousd"] or 0
    for account in logs.accounts:
        if account.used_nanousd != sums[account.key]:
            verdict.note("budget", f"{account.key}: used {account.used_nanousd}, records {sums[account.key]}")
        if account.held_nanousd:
            verdict.note("open", f"{account.key} holds {account.held_nanousd}")
        if account.limit_nanousd is not None and account.used_nanousd > account.limit_nanousd:
            verdict.note("budget", f"{account.key}: used {account.used_nanousd} of {account.limit_nanousd}")
    if logs.open_reservations:
        verdict.note("open", f"{logs.open_reservations} reservations")
    total = (len(records), sum(sums.values()))
    if logs.counted != total:
        verdict.note("counters", f"requests and nano-dollars: counted {logs.counted}, recorded {total}")


def _is_refused(call: ClientCall) -> bool:
    """Refused by the gateway itself: never admitted, as far as the client was told."""
    return call.code in _REFUSALS


_REFUSALS = frozenset(
    (
        *("insufficient_quota", "rate_limit_exceeded", "store_unavailable", "price_unknown"),
        *("invalid_api_key", "gateway_draining", "gateway_overloaded", "model_not_allowed"),
    )
)
