"""The two secrets that all replicas on one store share: the key of the HMACs, and the admin key's hash."""

from __future__ import annotations

import hashlib

from gateway.store.client import Store
from gateway.store.keys import ADMIN, SECRET


class SecretRepository:
    """Reads and makes the shared secrets. All methods raise `StoreAway` where the store cannot be reached."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def gateway_secret(self, fresh: str) -> bytes:
        """The secret under which virtual keys are hashed: the one stored, else `fresh`, stored for all."""
        await self._store.call("SET", SECRET, fresh, "NX")
        stored: bytes = await self._store.call("GET", SECRET)
        return stored

    async def admin_key_hash(self) -> str | None:
        """Hex hash of the admin key, None where none was made yet."""
        stored = await self._store.call("GET", ADMIN)
        return None if stored is None else stored.decode()

    async def offer_admin_key(self, key: str) -> bool:
        """Make `key` the admin key if there is none yet; True for the one caller whose key it became."""
        return await self._store.call("SET", ADMIN, admin_key_hash(key), "NX") is not None

    async def replace_admin_key(self, key: str) -> None:
        """Make `key` the admin key, whatever there was before."""
        await self._store.call("SET", ADMIN, admin_key_hash(key))


def admin_key_hash(key: str) -> str:
    """Hex SHA-256: the key is long and random, so a plain hash cannot be searched."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
