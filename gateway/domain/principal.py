"""Who is calling, and what this key may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

ROUTE_NAMES = (
    "chat.completions",
    "completions",
    "embeddings",
    "responses",
    "moderations",
    "images",
    "audio",
    "models",
    "files",
    "uploads",
    "fine_tuning",
    "batches",
    "feedback",
)
TRAINING_ROUTES = frozenset({"files", "uploads", "fine_tuning", "batches"})


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a virtual key. `None` in an allow-list means no restriction.

    Args:
        key_id: twelve characters, the first two are the shard.
        revision: grows with every change of the key.
        aliases: alias names this key may use.
        models: model ids and globs, or "aliases-only".
        routes: names from `ROUTE_NAMES`.
        expires_at: unix seconds.
        limits: what the key names of `rpm`, `tpm` and `concurrency`; None is unlimited, absent the default.
        budget_nanousd: what it may spend in each `budget_period` (UTC), None without a budget.
        has_credit: it pays from prepaid credit.
    """

    key_id: str
    name: str
    team: str | None = None
    revision: int = 1
    aliases: frozenset[str] | None = None
    models: tuple[str, ...] | Literal["aliases-only"] | None = None
    routes: frozenset[str] | None = None
    training: bool | Literal["all"] = False
    may_pin: bool = False
    cache_scope: Literal["key", "team"] = "key"
    max_output_tokens: int | None = None
    expires_at: int | None = None
    limits: Mapping[str, int | None] = field(default_factory=dict)
    budget_nanousd: int | None = None
    budget_period: Literal["day", "month", "total"] = "total"
    has_credit: bool = False

    @property
    def pays(self) -> bool:
        """True where money bounds this key: only models of known price may serve it."""
        return self.has_credit or self.budget_nanousd is not None

    @property
    def shard(self) -> str:
        """Two digits, 00 to 63."""
        return self.key_id[:2]

    def may_use_route(self, route: str) -> bool:
        """True where `route`, a name from `ROUTE_NAMES`, is open to this key."""
        if route in TRAINING_ROUTES and not self.training:
            return False
        return self.routes is None or route in self.routes

    def may_use_alias(self, alias: str) -> bool:
        """True where the alias is open to this key. A list of raw models alone closes no alias."""
        return self.aliases is None or alias in self.aliases

    def may_use_model(self, model: str) -> bool:
        """True where the raw model id is open to this key: `aliases` alone refuses raw ids."""
        if self.models is None:
            return self.aliases is None
        if self.models == "aliases-only":
            return False
        return any(fnmatchcase(model, pattern) for pattern in self.models)
