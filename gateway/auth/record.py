"""The stored document of a virtual key, as JSON in the store, and the `Principal` it makes.

Reading ignores fields it does not know, so that an older process can read what a newer one wrote.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from gateway.auth.virtual_key import matches
from gateway.domain.principal import Principal

KeyStatus = Literal["active", "expired", "revoked"]


class KeyDigest(msgspec.Struct, frozen=True):
    """One secret that opens the key: its HMAC, and until when, unix seconds (None = while the key lives)."""

    hmac: str
    until: int | None = None


class KeyBudget(msgspec.Struct, frozen=True):
    """What the key may spend in each UTC day, each UTC month, or at all; nano-dollars, 0 refuses all."""

    nanousd: int
    period: Literal["day", "month", "total"]


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that is stored of a virtual key. In an allow-list None means no restriction, [] nothing.

    `limits` holds only what the key names: absent = the configured default, None = unlimited, 0 = refuse.
    `revision` grows with every change; times are unix seconds. After a rotation with grace `digests` holds
    the new secret first, the old ones behind it until their time is over.
    """

    id: str
    name: str
    digests: tuple[KeyDigest, ...]
    created_at: int
    aliases: tuple[str, ...] | None = None
    models: tuple[str, ...] | Literal["aliases-only"] | None = None
    routes: tuple[str, ...] | None = None
    limits: dict[str, int | None] = {}
    budget: KeyBudget | None = None
    has_credit: bool = False
    training: bool | Literal["all"] = False
    team: str | None = None
    may_pin: bool = False
    cache_scope: Literal["key", "team"] = "key"
    max_output_tokens: int | None = None
    expires_at: int | None = None
    metadata: dict[str, Any] = {}
    revision: int = 1
    revoked: bool = False

    @classmethod
    def decode(cls, raw: bytes) -> KeyRecord:
        """Read a stored record. Raises `msgspec.DecodeError` (or its `ValidationError`) on anything else."""
        return _DECODER.decode(raw)

    def encode(self) -> bytes:
        """The JSON to store."""
        return msgspec.json.encode(self)

    def status(self, now: float) -> KeyStatus:
        """What the key is worth at `now`, unix seconds."""
        if self.revoked:
            return "revoked"
        if self.expires_at is not None and now >= self.expires_at:
            return "expired"
        return "active"

    def accepts(self, presented: str, now: float) -> bool:
        """True where `presented`, a hex digest, opens the key at `now`; says nothing about `status`.

        Looks at every digest, so that the time taken does not tell which one matched.
        """
        accepted = False
        for known in self.digests:
            same = matches(known.hmac, presented)
            accepted |= same and (known.until is None or now < known.until)
        return accepted

    def opens_until(self, presented: str) -> float:
        """Until when `presented`, which opens the key now, does so by this record; unix seconds."""
        ends = [known.until for known in self.digests if matches(known.hmac, presented)]
        until = math.inf if None in ends else max((end for end in ends if end is not None), default=0)
        return until if self.expires_at is None else min(until, self.expires_at)

    def principal(self) -> Principal:
        """Who calls with this key and what it may do."""
        return Principal(
            key_id=self.id,
            name=self.name,
            team=self.team,
            revision=self.revision,
            aliases=None if self.aliases is None else frozenset(self.aliases),
            models=self.models,
            routes=None if self.routes is None else frozenset(self.routes),
            training=self.training,
            may_pin=self.may_pin,
            cache_scope=self.cache_scope,
            max_output_tokens=self.max_output_tokens,
            expires_at=self.expires_at,
            limits=self.limits,
            budget_nanousd=None if self.budget is None else self.budget.nanousd,
            budget_period="total" if self.budget is None else self.budget.period,
            has_credit=self.has_credit,
        )


_DECODER = msgspec.json.Decoder(KeyRecord)
