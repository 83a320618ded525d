"""Virtual keys in the store: one hash a key in the key's own slot, one index over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.auth.record import KeyRecord
from gateway.store.client import Store
from gateway.store.errors import StoreReplyError
from gateway.store.keys import KEYS_INDEX, key_record
from gateway.store.scripts import Script


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key's record and when it was last used (unix seconds; None = never)."""

    record: KeyRecord
    last_used_at: int | None


class KeyRepository:
    """Reads and writes virtual keys. All methods raise `StoreAway` where the store cannot be reached."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._write = Script.load("key_write")

    async def get(self, key_id: str) -> StoredKey | None:
        """The key of this id, revoked ones too; None where there never was one."""
        return (await self.get_many([key_id]))[0]

    async def get_many(self, key_ids: Sequence[str]) -> list[StoredKey | None]:
        """The keys of these ids, in the same order, in one write."""
        replies = await self._store.call_many(
            [("HMGET", key_record(key_id), "record", "last_used_at") for key_id in key_ids]
        )
        return [_stored(reply) for reply in replies]

    async def create(self, record: KeyRecord, created_us: int) -> bool:
        """Store a new key; False where its id is taken. `created_us`, microseconds, orders the listing.

        The index comes first, so that no key ever works without being listed.
        """
        await self._store.call("ZADD", KEYS_INDEX, "NX", created_us, record.id)
        return await self._write_record(record, based_on=0)

    async def replace(self, record: KeyRecord) -> bool:
        """Store the next revision of a key; False where somebody else changed the key meanwhile."""
        return await self._write_record(record, based_on=record.revision - 1)

    async def ids_newest_first(self, *, after: str | None, count: int) -> list[str] | None:
        """Up to `count` ids from the index, those behind `after`; None where `after` is no key's id."""
        start = 0
        if after is not None:
            rank = await self._store.call("ZREVRANK", KEYS_INDEX, after)
            if rank is None:
                return None
            start = int(rank) + 1
        found = await self._store.call("ZREVRANGE", KEYS_INDEX, start, start + count - 1)
        return [key_id.decode() for key_id in found]

    async def _write_record(self, record: KeyRecord, *, based_on: int) -> bool:
        written = await self._store.script(self._write, [key_record(record.id)], [based_on, record.encode()])
        return bool(written)


def _stored(reply: list[bytes | None] | StoreReplyError) -> StoredKey | None:
    if isinstance(reply, StoreReplyError):
        raise reply
    raw, last_used_at = reply
    if raw is None:
        return None
    return StoredKey(KeyRecord.decode(raw), None if last_used_at is None else int(last_used_at))
