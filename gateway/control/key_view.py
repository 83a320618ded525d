"""Virtual keys as the admin API shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.auth.virtual_key import redacted
from gateway.control.key_schema import IssuedKey, ShownKey
from gateway.control.key_service import KeyService
from gateway.domain.money import usd
from gateway.limits.values import Bounds
from gateway.store.key_repository import StoredKey


class KeyView:
    """Shows keys with what is known of them beside their records.

    Args:
        service: knows what is left of their credit.
        default_limits: of keys that name none.
        clock: unix seconds; tells which keys have expired.
    """

    def __init__(
        self, service: KeyService, default_limits: Callable[[], Bounds], clock: Callable[[], float]
    ) -> None:
        self._service = service
        self._default_limits = default_limits
        self._clock = clock

    async def shown(self, keys: Sequence[StoredKey]) -> list[ShownKey]:
        """The keys without their secrets, in the same order."""
        return [ShownKey(**fields) for fields in await self._fields(keys)]

    async def one(self, key: StoredKey) -> ShownKey:
        """One key without its secret."""
        return (await self.shown([key]))[0]

    async def issued(self, key: StoredKey, text: str) -> IssuedKey:
        """One key with its secret."""
        (fields,) = await self._fields([key])
        return IssuedKey(**fields, key=text)

    async def _fields(self, keys: Sequence[StoredKey]) -> list[dict[str, Any]]:
        credit_left = await self._service.credit_left([key.record for key in keys])
        default, now = self._default_limits(), self._clock()
        return [_fields(key, credit_left.get(key.record.id), default, now) for key in keys]


def _fields(key: StoredKey, credit_nanousd: int | None, default: Bounds, now: float) -> dict[str, Any]:
    record = key.record
    budget = record.budget
    return {
        "id": record.id,
        "name": record.name,
        "redacted": redacted(record.id),
        "status": record.status(now),
        "aliases": record.aliases,
        "models": record.models,
        "routes": record.routes,
        "limits": record.limits,
        "effective_limits": msgspec.structs.asdict(Bounds.of(record.limits, default)),
        "budget": budget and {"usd": usd(budget.nanousd), **msgspec.structs.asdict(budget)},
        "credit_usd": None if credit_nanousd is None else usd(credit_nanousd),
        "credit_nanousd": credit_nanousd,
        "training": record.training,
        "max_output_tokens": record.max_output_tokens,
        "team": record.team,
        "may_pin": record.may_pin,
        "cache_scope": record.cache_scope,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "last_used_at": key.last_used_at,
        "metadata": record.metadata,
    }
