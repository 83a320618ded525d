"""`/admin/v1/keys`: virtual keys over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from gateway.auth.record import KeyRecord, KeyStatus
from gateway.auth.virtual_key import redacted
from gateway.control.key_schema import (
    CreateKey,
    IssuedKey,
    KeyDeleted,
    KeyFields,
    KeyList,
    RotateKey,
    ShownKey,
    UpdateKey,
)
from gateway.control.key_service import KeyService
from gateway.store.key_repository import StoredKey

_LIMITS = ("rpm", "tpm", "concurrency")


def key_routes(service: KeyService, clock: Callable[[], float]) -> APIRouter:
    """The routes over `service`; `clock` (unix seconds) tells which keys have expired."""
    router = APIRouter(prefix="/admin/v1/keys", tags=["keys"])

    def shown(key: StoredKey) -> ShownKey:
        return ShownKey(**_shown(key, clock()))

    def issued(key: StoredKey, text: str) -> IssuedKey:
        return IssuedKey(**_shown(key, clock()), key=text)

    @router.post("")
    async def create_key(body: CreateKey) -> IssuedKey:
        """Make a key. Its secret is in this answer and nowhere else."""
        record, text = await service.create(_given(body))
        return issued(StoredKey(record, None), text)

    @router.get("")
    async def list_keys(
        limit: Annotated[int, Query(ge=1, le=1000)] = 20,
        after: str | None = None,
        status: KeyStatus | Literal["all"] | None = None,
    ) -> KeyList:
        """Keys, newest first: of one status, all, or by default all but the revoked ones."""
        now = clock()

        def is_wanted(record: KeyRecord) -> bool:
            current = record.status(now)
            return current != "revoked" if status is None else status in ("all", current)

        keys, has_more = await service.page(after=after, limit=limit, is_wanted=is_wanted)
        following = keys[-1].record.id if has_more else None
        return KeyList(data=[shown(key) for key in keys], has_more=has_more, next=following)

    @router.get("/{id}")
    async def get_key(id: str) -> ShownKey:  # noqa: A002  # the name that callers see
        """One key, revoked ones too."""
        return shown(await service.get(id))

    @router.patch("/{id}")
    async def update_key(id: str, body: UpdateKey) -> ShownKey:  # noqa: A002  # the name that callers see
        """Change the fields given; null is no restriction."""
        return shown(await service.update(id, _given(body)))

    @router.delete("/{id}")
    async def revoke_key(id: str) -> KeyDeleted:  # noqa: A002  # the name that callers see
        """Revoke a key for good. Doing it again changes nothing."""
        await service.revoke(id)
        return KeyDeleted(id=id)

    @router.post("/{id}/rotate")
    async def rotate_key(id: str, body: RotateKey | None = None) -> IssuedKey:  # noqa: A002  # the name that callers see
        """Give the key a new secret; older ones work for `grace_s` more, by default not at all."""
        key, text = await service.rotate(id, body.grace_s if body else 0)
        return issued(key, text)

    return router


def _given(body: KeyFields) -> dict[str, Any]:
    return body.model_dump(exclude_unset=True)


def _shown(key: StoredKey, now: float) -> dict[str, Any]:
    record = key.record
    return {
        "id": record.id,
        "name": record.name,
        "redacted": redacted(record.id),
        "status": record.status(now),
        "aliases": record.aliases,
        "models": record.models,
        "routes": record.routes,
        "limits": {name: record.limits.get(name) for name in _LIMITS},
        "budget": record.budget,
        "credit_usd": record.credit_usd,
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
