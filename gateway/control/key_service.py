"""Issuing, changing, rotating and revoking virtual keys: the rules, without HTTP."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from gateway.auth import virtual_key
from gateway.auth.record import KeyDigest, KeyRecord
from gateway.control.errors import Conflict, NotFound
from gateway.control.not_available import is_unlimited, refuse_unavailable
from gateway.domain.errors import InvalidRequest
from gateway.store.key_repository import StoredKey

_ATTEMPTS = 16  # of a change that others keep overtaking


class KeyStore(Protocol):
    """Where keys are kept."""

    async def get(self, key_id: str) -> StoredKey | None:
        """The key of this id."""

    async def get_many(self, key_ids: Sequence[str]) -> list[StoredKey | None]:
        """The keys of these ids, in order."""

    async def create(self, record: KeyRecord, created_us: int) -> bool:
        """Store a new key; False where its id is taken."""

    async def replace(self, record: KeyRecord) -> bool:
        """Store the next revision; False where another one is stored."""

    async def ids_newest_first(self, *, after: str | None, count: int) -> list[str] | None:
        """Ids behind `after`; None where that is no id."""


class KeyService:
    """Virtual keys as the admin API sees them.

    Args:
        store: where they are kept.
        gateway_secret: what they are hashed under; awaited at each use, as the store may hold it.
        clock: unix seconds.
        randbelow: like `secrets.randbelow`.
    """

    def __init__(
        self,
        store: KeyStore,
        gateway_secret: Callable[[], Any],
        clock: Callable[[], float],
        randbelow: Callable[[int], int],
    ) -> None:
        self._store = store
        self._gateway_secret = gateway_secret
        self._clock = clock
        self._randbelow = randbelow

    async def create(self, fields: Mapping[str, Any]) -> tuple[KeyRecord, str]:
        """Make a key of the fields given; returns its record and its text, which is nowhere else.

        Raises `InvalidRequest` for a value that cannot be.
        """
        now = self._clock()
        chosen = _chosen(fields, now)
        owner = chosen.get("team") or chosen["name"]
        while True:
            key_id = virtual_key.new_key_id(owner, self._randbelow)
            text, digest = await self._new_text(key_id)
            record = KeyRecord(id=key_id, digests=(digest,), created_at=int(now), **chosen)
            if await self._store.create(record, created_us=int(now * 1e6)):
                return record, text

    async def get(self, key_id: str) -> StoredKey:
        """The key of this id, revoked ones too. Raises `NotFound`."""
        stored = await self._store.get(key_id) if virtual_key.is_key_id(key_id) else None
        if stored is None:
            raise NotFound(f"No key has the id `{key_id}`.", "id")
        return stored

    async def page(
        self, *, after: str | None, limit: int, is_wanted: Callable[[KeyRecord], bool]
    ) -> tuple[list[StoredKey], bool]:
        """(wanted keys, whether there are more), newest first, those behind the id `after`."""
        found: list[StoredKey] = []
        while len(found) <= limit:
            wanted = limit + 1
            ids = await self._store.ids_newest_first(after=after, count=wanted)
            if ids is None:
                raise InvalidRequest(f"`after` is no key's id: `{after}`.", "after")
            stored = await self._store.get_many(ids) if ids else []
            found += [key for key in stored if key and is_wanted(key.record)]
            if len(ids) < wanted:
                break
            after = ids[-1]
        return found[:limit], len(found) > limit

    async def update(self, key_id: str, fields: Mapping[str, Any]) -> StoredKey:
        """Change what is given, leave the rest. Raises `NotFound`, `InvalidRequest`."""
        chosen = _chosen(fields, self._clock())

        def change(record: KeyRecord) -> KeyRecord:
            _refuse_revoked(record)
            return msgspec.structs.replace(record, **chosen)

        return await self._change(key_id, change)

    async def revoke(self, key_id: str) -> None:
        """Close the key for ever; its record stays, so no other key gets its id. Raises `NotFound`."""

        def change(record: KeyRecord) -> KeyRecord:
            return msgspec.structs.replace(record, revoked=True, digests=())

        await self._change(key_id, change)

    async def rotate(self, key_id: str, grace_s: int) -> tuple[StoredKey, str]:
        """Give the key a new secret; every older one works for `grace_s` more at most.

        Raises `NotFound`, `InvalidRequest`.
        """
        text, digest = await self._new_text(key_id)
        now = self._clock()
        ends = math.ceil(now) + grace_s

        def change(record: KeyRecord) -> KeyRecord:
            _refuse_revoked(record)
            older = [
                KeyDigest(known.hmac, min(ends, known.until or ends))
                for known in record.digests
                if grace_s and (known.until is None or known.until > now)
            ]
            return msgspec.structs.replace(record, digests=(digest, *older))

        return await self._change(key_id, change), text

    async def _new_text(self, key_id: str) -> tuple[str, KeyDigest]:
        text = virtual_key.format_key(key_id, virtual_key.new_secret(self._randbelow))
        return text, KeyDigest(virtual_key.digest(await self._gateway_secret(), text))

    async def _change(self, key_id: str, change: Callable[[KeyRecord], KeyRecord]) -> StoredKey:
        for _ in range(_ATTEMPTS):
            stored = await self.get(key_id)
            changed = change(stored.record)
            if changed == stored.record:
                return stored
            changed = msgspec.structs.replace(changed, revision=stored.record.revision + 1)
            if await self._store.replace(changed):
                return StoredKey(changed, stored.last_used_at)
        raise Conflict(f"The key `{key_id}` is being changed by others at the same time. Try again.")


def _refuse_revoked(record: KeyRecord) -> None:
    if record.revoked:
        raise InvalidRequest(f"The key `{record.id}` is revoked for good. Make a new one.", "id")


def _chosen(fields: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The fields of a record that a caller chose.

    Null means no restriction, and where that has no sense, the default: nobody is given training or pinning
    by a null.
    """
    refuse_unavailable(fields)
    chosen = {name: value for name, value in fields.items() if name not in _NULL_IS_DEFAULT}
    for name in ("aliases", "models", "routes"):
        if isinstance(chosen.get(name), list):
            chosen[name] = tuple(dict.fromkeys(chosen[name]))
    for name, default in _NULL_IS_DEFAULT.items():
        if name in fields:
            chosen[name] = fields[name] if fields[name] is not None else default
    if "limits" in fields:
        given = fields["limits"]
        chosen["limits"] = (
            dict.fromkeys(("rpm", "tpm", "concurrency"))
            if given is None
            else {name: None if is_unlimited(name, value) else value for name, value in given.items()}
        )
    if chosen.get("expires_at") is not None and chosen["expires_at"] <= now:
        raise InvalidRequest("`expires_at` must be in the future, in unix seconds.", "expires_at")
    return chosen


_NULL_IS_DEFAULT: Mapping[str, Any] = {
    "training": False,
    "may_pin": False,
    "cache_scope": "key",
    "metadata": {},
}
