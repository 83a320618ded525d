"""What all calls rest on that are alike: of one key, for one target, by one route."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from gateway.accounting.quote import cap_of, longest_answer
from gateway.attempts.served import Held
from gateway.domain.call import Call
from gateway.domain.plan import Target
from gateway.domain.principal import Principal
from gateway.limits.headers import LimitLines
from gateway.limits.values import Admission, Bounds, Budget
from gateway.metering.record import Basis, LedgerRecord, State, UsageSource, shared_parts
from gateway.snapshot import Snapshot
from gateway.store.accounts import AccountStore

KEPT = 4096
"""Whoever is in use by more keys and targets makes some anew: that costs little, and to forget many at once
would hold up the others."""

_ALIKE_KEPT = 16  # of one alias: nearly all end in one or two ways

Kind = tuple[str | None, str | None, State, UsageSource, str | None, str | None, str | None]
"""Model, upstream, state, source of the usage, cache, fallback and type of error, as in `LedgerRecord`."""


class Alike(msgspec.Struct, frozen=True):
    """What the settlements of calls on the same terms have in common that were of one kind in the end.

    Args:
        key, route, price_version: of their `WrittenRecord`.
        errors, hits: what each counts for.
        tail: the end of the settlement: what its usage is counted by, and its state.
    """

    key: msgspec.Raw
    route: msgspec.Raw
    price_version: msgspec.Raw
    errors: int
    hits: int
    tail: bytes


class Terms:
    """What an admission and a settlement rest on, whatever is in the body of the call.

    Args:
        target: what may serve; for a key that pays, only what has a known price.
        process: identifies this process in the store.

    Attributes:
        held: what an admitted call is served by.
        bounds: limits of the key.
        likely_output_tokens: of one answer where its caller gives no cap, for the tokens a minute.
        longest_answer: the most tokens of one answer; None where that is not known of all who may serve.
        asked: what is asked of the limits, but for what is in the body.
        admission, ask: the form of that, and the way it goes to the store.
        settlement, settle: as for admissions.
        limit_lines: what callers are told of their limits.
    """

    __slots__ = (
        "_alike",
        "_record",
        "admission",
        "ask",
        "asked",
        "bounds",
        "held",
        "likely_output_tokens",
        "limit_lines",
        "longest_answer",
        "pays",
        "principal",
        "settle",
        "settlement",
        "snapshot",
        "target",
    )

    def __init__(
        self,
        call: Call,
        target: Target,
        principal: Principal,
        snapshot: Snapshot,
        accounts: AccountStore,
        process: str,
    ) -> None:
        self.target = target
        self.principal = principal
        self.snapshot = snapshot
        self.pays = principal.pays
        self.held = Held(target, cap_of(target, principal))
        self.bounds = Bounds.of(principal.limits, snapshot.default_bounds)
        self.likely_output_tokens = snapshot.settings.limits.assumed_output_tokens
        self.longest_answer = longest_answer(target)
        self.asked = Admission(
            request_id="",
            key_id=principal.key_id,
            revision=principal.revision,
            process=process,
            bounds=self.bounds,
            tokens=0,
            budget=_budget(principal),
            has_credit=principal.has_credit,
            basis=_basis_of(call, target, principal, snapshot),
        )
        self.admission, self.ask = accounts.admitting(self.asked)
        self._record = LedgerRecord(
            request_id="",
            ts=0.0,
            key=principal.key_id,
            team=principal.team,
            alias=target.alias,
            release=target.release,
            route=call.route.name,
            state="released",
            stream=call.stream,
            price_version=snapshot.prices.version,
        )
        self.settlement, self.settle = accounts.settling(
            principal.key_id, tpm=self.bounds.tpm, has_credit=principal.has_credit
        )
        self.limit_lines = LimitLines(self.bounds.rpm, self.bounds.tpm)
        self._alike: dict[Kind, Alike] = {}

    def alike(self, kind: Kind) -> Alike:
        """What settlements of this kind have in common."""
        alike = self._alike.get(kind)
        return self._meet(kind) if alike is None else alike

    def _meet(self, kind: Kind) -> Alike:
        model, upstream, state, source, cache, fallback, error_type = kind
        record = msgspec.structs.replace(
            self._record,
            model=model,
            upstream=upstream,
            state=state,
            usage_source=source,
            cache=cache,
            fallback=fallback,
            error_type=error_type,
        )
        if len(self._alike) >= _ALIKE_KEPT:
            self._alike.clear()
        counters = record.counters()
        alike = self._alike[kind] = Alike(
            *shared_parts(record),
            counters.errors,
            counters.cache_hits,
            self.settlement.tail(record.dimensions.joined(), state),
        )
        return alike


def _budget(principal: Principal) -> Budget | None:
    if principal.budget_nanousd is None:
        return None
    return Budget(principal.budget_nanousd, principal.budget_period)


def _basis_of(call: Call, target: Target, principal: Principal, snapshot: Snapshot) -> bytes:
    model = upstream = None
    for candidate in target.candidates:
        if candidate.skip is None:
            model, upstream = candidate.model, candidate.upstream
            break
    return _basis(
        call.route.name,
        principal.team,
        target.alias,
        target.release,
        model,
        upstream,
        call.stream,
        snapshot.prices.version,
    )


class KeptTerms:
    """Terms, made once for as long as key, target and configuration stay what they are.

    Args:
        process: identifies this process in the store.
    """

    def __init__(self, accounts: AccountStore, process: str) -> None:
        self._accounts = accounts
        self._process = process
        self._kept: dict[tuple[str, str, str, bool], Terms] = {}
        self._snapshot: Snapshot | None = None

    def of(self, call: Call, target: Target, principal: Principal, snapshot: Snapshot) -> Terms:
        """The terms of a call."""
        place = (principal.key_id, target.name, call.route.name, call.stream)
        terms = self._kept.get(place)
        if (
            terms is not None
            and terms.principal is principal
            and terms.snapshot is snapshot
            and (terms.target is target or terms.target == target)  # `payable` makes it anew for each call
        ):
            return terms
        if snapshot is not self._snapshot or len(self._kept) >= KEPT:
            self._kept.clear()  # nothing of a former configuration is held on to
            self._snapshot = snapshot
        terms = Terms(call, target, principal, snapshot, self._accounts, self._process)
        self._kept[place] = terms
        return terms


@lru_cache(maxsize=4096)  # one for many keys
def _basis(
    route: str,
    team: str | None,
    alias: str | None,
    release: str | None,
    model: str | None,
    upstream: str | None,
    stream: bool,
    price_version: str,
) -> bytes:
    return Basis(
        route=route,
        team=team,
        alias=alias,
        release=release,
        model=model,
        upstream=upstream,
        stream=stream,
        price_version=price_version,
    ).encode()
