"""Issuing, changing, rotating and revoking virtual keys, and their credit: the rules, without HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from gateway.auth import virtual_key
from gateway.auth.record import KeyDigest, KeyRecord
from gateway.control.errors import Conflict, NotFound
from gateway.control.key_fields import changed
from gateway.domain.errors import InvalidRequest
from gateway.domain.money import usd
from gateway.limits.values import MAX_NANOUSD, AccountView, Bounds
from gateway.store.key_repository import StoredKey

log = structlog.get_logger(__name__)

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


class KeyAccounts(Protocol):
    """Where their money is counted."""

    async def account(self, key_id: str, bounds: Bounds) -> AccountView:
        """How a key stands now."""

    async def add_credit(self, key_id: str, nanousd: int, *, grant_id: str) -> int:
        """Grant credit once for each `grant_id`; returns what is left."""


class KeyService:
    """Virtual keys as the admin API sees them.

    Args:
        store: where they are kept.
        accounts: where their money is counted.
        gateway_secret: what they are hashed under; awaited at each use, as the store may hold it.
        clock: unix seconds.
        randbelow: like `secrets.randbelow`.
    """

    def __init__(
        self,
        store: KeyStore,
        accounts: KeyAccounts,
        gateway_secret: Callable[[], Any],
        clock: Callable[[], float],
        randbelow: Callable[[int], int],
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._gateway_secret = gateway_secret
        self._clock = clock
        self._randbelow = randbelow

    async def create(self, fields: Mapping[str, Any]) -> tuple[KeyRecord, str]:
        """Make a key of the fields given; returns its record and its text, which is nowhere else.

        Raises `InvalidRequest` for a value that cannot be.
        """
        now = self._clock()
        blank = KeyRecord(id="", name="", digests=(), created_at=int(now))
        chosen = changed(blank, fields, now)
        while True:
            key_id = virtual_key.new_key_id(chosen.team or chosen.name, self._randbelow)
            text, digest = await self._new_text(key_id)
            record = msgspec.structs.replace(chosen, id=key_id, digests=(digest,))
            if await self._store.create(record, created_us=int(now * 1e6)):
                break
        if record.has_credit:  # after the record: an id that is taken has its own credit
            await self._grant(key_id, fields["credit_usd"], self._new_grant_id())
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
        now = self._clock()
        credit = fields.get("credit_usd")
        if credit is not None:
            await self._refuse_too_much((await self.get(key_id)).record, credit, "credit_usd")

        def change(record: KeyRecord) -> KeyRecord:
            _refuse_revoked(record)
            if credit is not None and record.has_credit:
                raise InvalidRequest(
                    f"The key `{key_id}` has credit: POST /admin/v1/keys/{key_id}/credit grants more.",
                    "credit_usd",
                )
            return changed(record, fields, now)

        stored = await self._change(key_id, change)
        if credit is not None:  # only of two changes at once the first comes here
            await self._grant(key_id, credit, self._new_grant_id())
        return stored

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

    async def credit(
        self, key_id: str, nanousd: int, *, note: str | None, idempotency_key: str | None
    ) -> int:
        """Grant credit, or take it back where negative; returns what is left, nano-dollars.

        A key without credit pays from it from then on. Of the calls with one idempotency key only the first
        grants anything; it is remembered for a day.

        Raises `NotFound`, `InvalidRequest`.
        """
        record = (await self.get(key_id)).record
        _refuse_revoked(record)
        if nanousd < 0 and not record.has_credit:
            raise InvalidRequest(f"The key `{key_id}` has no credit to take back.", "usd")
        await self._refuse_too_much(record, nanousd, "usd")
        given = idempotency_key and hashlib.sha256(f"{key_id} {idempotency_key}".encode()).hexdigest()
        # First the money: a key that pays from credit and has none is refused every call.
        left = await self._grant(key_id, nanousd, given or self._new_grant_id(), note)
        await self._change(key_id, lambda record: msgspec.structs.replace(record, has_credit=True))
        return left

    async def credit_left(self, records: Sequence[KeyRecord]) -> dict[str, int]:
        """What is left of their credit by key id, nano-dollars, for those that pay from it."""
        payers = [record.id for record in records if record.has_credit]
        views = await asyncio.gather(*(self._accounts.account(key_id, Bounds()) for key_id in payers))
        return {key_id: view.credit_nanousd or 0 for key_id, view in zip(payers, views, strict=True)}

    async def _refuse_too_much(self, record: KeyRecord, nanousd: int, param: str) -> None:
        """Keep all that was ever granted to a key within what the store counts exactly."""
        granted = (await self._accounts.account(record.id, Bounds())).granted_nanousd or 0
        if abs(granted + nanousd) > MAX_NANOUSD:
            raise InvalidRequest(
                f"A key can be granted {usd(MAX_NANOUSD)} US dollars in all, and `{record.id}` was "
                f"{usd(granted)}. Make a new key.",
                param,
            )

    async def _grant(self, key_id: str, nanousd: int, grant_id: str, note: str | None = None) -> int:
        left = await self._accounts.add_credit(key_id, nanousd, grant_id=grant_id)
        log.info(
            "credit granted", key=key_id, usd=usd(nanousd), note=note, left_usd=usd(left), grant=grant_id
        )
        return left

    def _new_grant_id(self) -> str:
        return f"{self._randbelow(2**128):032x}"

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
