"""`/admin/v1/keys`: virtual keys over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query

from gateway.auth.record import KeyRecord, KeyStatus
from gateway.control.key_schema import (
    CreateKey,
    CreditKey,
    IssuedKey,
    KeyCredit,
    KeyDeleted,
    KeyFields,
    KeyList,
    RotateKey,
    ShownKey,
    UpdateKey,
)
from gateway.control.key_service import KeyService
from gateway.control.key_view import KeyView
from gateway.domain.money import usd
from gateway.store.key_repository import StoredKey

_IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Of the calls for a key with the same one only the first grants anything, "
        "whatever the others ask for; it is remembered for a day.",
    ),
]


def key_routes(service: KeyService, view: KeyView, clock: Callable[[], float]) -> APIRouter:
    """The routes over `service`, showing keys by `view`; `clock` (unix seconds) tells which have expired."""
    router = APIRouter(prefix="/admin/v1/keys", tags=["keys"])

    @router.post("")
    async def create_key(body: CreateKey) -> IssuedKey:
        """Make a key. Its secret is in this answer and nowhere else."""
        record, text = await service.create(_given(body))
        return await view.issued(StoredKey(record, None), text)

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
        return KeyList(data=await view.shown(keys), has_more=has_more, next=following)

    @router.get("/{id}")
    async def get_key(id: str) -> ShownKey:  # noqa: A002  # the name that callers see
        """One key, revoked ones too."""
        return await view.one(await service.get(id))

    @router.patch("/{id}")
    async def update_key(id: str, body: UpdateKey) -> ShownKey:  # noqa: A002  # the name that callers see
        """Change the fields given; null is no restriction. `limits` are merged one by one."""
        return await view.one(await service.update(id, _given(body)))

    @router.delete("/{id}")
    async def revoke_key(id: str) -> KeyDeleted:  # noqa: A002  # the name that callers see
        """Revoke a key for good. Doing it again changes nothing."""
        await service.revoke(id)
        return KeyDeleted(id=id)

    @router.post("/{id}/rotate")
    async def rotate_key(id: str, body: RotateKey | None = None) -> IssuedKey:  # noqa: A002  # the name that callers see
        """Give the key a new secret; older ones work for `grace_s` more, by default not at all."""
        key, text = await service.rotate(id, body.grace_s if body else 0)
        return await view.issued(key, text)

    @router.post("/{id}/credit")
    async def credit_key(
        id: str,  # noqa: A002  # the name that callers see
        body: CreditKey,
        idempotency_key: _IdempotencyKey = None,
    ) -> KeyCredit:
        """Grant prepaid credit, or take some back. A key without credit pays from it from then on."""
        left = await service.credit(id, body.usd, note=body.note, idempotency_key=idempotency_key)
        return KeyCredit(
            id=id,
            granted_usd=usd(body.usd),
            granted_nanousd=body.usd,
            remaining_usd=usd(left),
            remaining_nanousd=left,
            note=body.note,
        )

    return router


def _given(body: KeyFields) -> dict[str, Any]:
    return body.model_dump(exclude_unset=True)
