"""The store as the keyring's source of records."""

from __future__ import annotations

import msgspec
import structlog

from gateway.auth.keyring import KeyAway
from gateway.auth.record import KeyRecord
from gateway.store.client import Store
from gateway.store.errors import StoreError
from gateway.store.key_repository import KeyRepository
from gateway.store.keys import key_record

log = structlog.get_logger(__name__)


class StoreKeySource:
    """Reads virtual keys for the data plane."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = KeyRepository(store)

    async def read(self, key_id: str) -> KeyRecord | None:
        """The record of this id, None where there never was one or it cannot be read. Raises `KeyAway`."""
        try:
            stored = await self._keys.get(key_id)
        except StoreError as error:
            raise KeyAway from error
        except msgspec.DecodeError:
            log.warning("a key's record cannot be read", key=key_id)
            return None
        return stored.record if stored is not None else None

    async def seen(self, key_id: str, at: int) -> None:
        """Note that a key was used, unix seconds. Raises `KeyAway`."""
        try:
            await self._store.call("HSET", key_record(key_id), "last_used_at", at)
        except StoreError as error:
            raise KeyAway from error
