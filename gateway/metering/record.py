"""The ledger record: what is kept for ever of one request that was admitted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Raw

from gateway.limits.values import Counters, Dimensions, OpenReservation, Settlement

State = Literal["exact", "estimated", "released", "orphaned"]
"""How sure the figures are.

    exact      as the upstream reported them
    estimated  counted by us: the stream was cut, the client left, or no usage was sent
    released   admitted, and nothing was spent
    orphaned   the process that served it died: charged the whole reservation
"""

UsageSource = Literal["upstream", "tokenizer", "reservation", "none"]
"""Where the token counts come from; "reservation" where there are none, only the cost that was reserved."""


class AttemptRecord(msgspec.Struct, frozen=True, gc=False):
    """One call of an upstream. `outcome` is "committed" or a class of failure; `None` means unknown.

    An attempt that cannot have cost anything is "released", with zeros.
    """

    upstream: str
    model: str
    outcome: str
    state: State = "released"
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    cost_nanousd: int | None = 0


class LedgerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as JSON in the ledger; the ledger itself gives it an `id`. `None` means unknown.

    Args:
        ts: when it was admitted, unix seconds to the millisecond.
        key: id of the virtual key.
        alias: as asked for; None for a raw model id.
        model: asked of `upstream`, the one that served or was tried last. What is priced.
        route: as keys name it, such as "chat.completions".
        cache: hit, miss, shared or bypass.
        fallback: "none", or why the first target did not serve.
        cost_nanousd: what the request cost, the sum of its attempts (see `total_cost`).
        saved_nanousd: what it would have cost without the cache.
        usage_source: who counted the tokens.
        error_type: from the closed list of the metrics; None where all went well.
    """

    request_id: str
    ts: float
    key: str
    team: str | None = None
    alias: str | None = None
    release: str | None = None
    model: str | None = None
    upstream: str | None = None
    upstream_request_id: str | None = None
    route: str
    state: State
    stream: bool = False
    cache: str | None = None
    fallback: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    service_tier: str | None = None
    cost_nanousd: int | None = None
    saved_nanousd: int = 0
    price_version: str | None = None
    usage_source: UsageSource = "none"
    error_type: str | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None

    @classmethod
    def decode(cls, raw: bytes) -> LedgerRecord:
        """Read a record. Raises `msgspec.DecodeError` (or its `ValidationError`) on anything else."""
        return _RECORDS.decode(raw)

    def encode(self) -> bytes:
        """The JSON that stands in the ledger."""
        return encoded(self)

    @property
    def dimensions(self) -> Dimensions:
        """What its usage is counted by."""
        return _dimensions(self.key, self.alias, self.model, self.upstream, self.release, self.team)

    def counters(self) -> Counters:
        """What it adds to the usage of its day and hour: what is not known adds nothing."""
        cost = self.cost_nanousd
        return Counters(
            1,
            0 if self.error_type is None else 1,
            1 if self.cache in _HITS else 0,
            self.prompt_tokens or 0,
            self.cached_tokens or 0,
            self.completion_tokens or 0,
            self.reasoning_tokens or 0,
            cost or 0,
            self.saved_nanousd,
            1 if cost is None else 0,
        )

    @property
    def tokens(self) -> int:
        """What it took of the tokens a minute."""
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)

    def settlement(
        self,
        *,
        admitted_ms: int,
        tokens_actual: int,
        tpm: int | None = None,
        has_credit: bool = False,
        was_reserved: bool = True,
        only_if_reserved: bool = False,
    ) -> Settlement:
        """The settlement that this record ends a request with; see there for what is asked."""
        return Settlement(
            request_id=self.request_id,
            key_id=self.key,
            state=self.state,
            record=encoded(self),
            admitted_ms=admitted_ms,
            counters=self.counters(),
            dimensions=self.dimensions,
            tokens_actual=tokens_actual,
            tpm=tpm,
            has_credit=has_credit,
            was_reserved=was_reserved,
            only_if_reserved=only_if_reserved,
        )


class WrittenRecord(msgspec.Struct, gc=False):
    """A ledger record that is only to be written: what it has in common with many is JSON already.

    It has the fields of `LedgerRecord` in their order and encodes to the same bytes, but `key`, `route` and
    `price_version` bring along the fields behind them, as `shared_parts` has them.
    """

    request_id: str
    ts: float
    key: Raw
    upstream_request_id: str | None
    route: Raw
    attempts: tuple[AttemptRecord, ...]
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    service_tier: str | None
    cost_nanousd: int | None
    saved_nanousd: int
    price_version: Raw
    ttft_ms: float | None
    duration_ms: float


def shared_parts(record: LedgerRecord) -> tuple[Raw, Raw, Raw]:
    """`key`, `route` and `price_version` of a `WrittenRecord` that says what this one says there."""
    found = _SHARED.search(encoded(record))
    assert found is not None  # noqa: S101  # every record has all fields
    key, route, price_version = found.groups()
    return Raw(key), Raw(route), Raw(price_version)


class Basis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a request when it is admitted: kept with the reservation, in case nobody is left.

    `model` and `upstream` are the first target's. Fields as in `LedgerRecord`.
    """

    route: str
    team: str | None = None
    alias: str | None = None
    release: str | None = None
    model: str | None = None
    upstream: str | None = None
    stream: bool = False
    price_version: str | None = None

    @classmethod
    def decode(cls, raw: bytes) -> Basis:
        """Read a basis. Raises `msgspec.DecodeError` (or its `ValidationError`) on anything else."""
        return _BASES.decode(raw)

    def encode(self) -> bytes:
        """The JSON that `Admission.basis` carries."""
        return encoded(self)

    def orphaned(self, reservation: OpenReservation) -> LedgerRecord:
        """The record of a request whose process died: it costs all that was reserved for it."""
        return LedgerRecord(
            request_id=reservation.request_id,
            ts=reservation.admitted_ms / 1000,
            key=reservation.key_id,
            team=self.team,
            alias=self.alias,
            release=self.release,
            model=self.model,
            upstream=self.upstream,
            route=self.route,
            state="orphaned",
            stream=self.stream,
            cost_nanousd=reservation.bound_nanousd,
            price_version=self.price_version,
            usage_source="reservation",
            error_type=ORPHAN_ERROR,
        )


ORPHAN_ERROR = "server_error"
"""`error_type` of an orphan: whatever killed the process, the caller did not get the whole answer."""


def total_cost(attempts: Iterable[AttemptRecord]) -> int | None:
    """What the attempts of one request cost together; None where the cost of any of them is unknown."""
    total = 0
    for attempt in attempts:
        if attempt.cost_nanousd is None:
            return None
        total += attempt.cost_nanousd
    return total


@lru_cache(maxsize=4096)  # the same few for nearly all calls
def _dimensions(
    key: str,
    alias: str | None,
    model: str | None,
    upstream: str | None,
    release: str | None,
    team: str | None,
) -> Dimensions:
    return Dimensions(key, alias or "", model or "", upstream or "", release or "", team or "")


_HITS = frozenset({"hit", "shared"})
encoded = msgspec.json.Encoder().encode
"""What `encode` of a record or a basis returns, a call of Python earlier."""

_SHARED = (
    re.compile(  # within a text a quotation mark has a backslash before it, so the names stand only here
        rb'"key":(.*),"upstream_request_id":.*,"route":(.*),"attempts":.*,"price_version":(.*),"ttft_ms":'
    )
)
_RECORDS = msgspec.json.Decoder(LedgerRecord)
_BASES = msgspec.json.Decoder(Basis)
