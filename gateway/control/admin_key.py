"""Who may use the control plane: the bearer of the admin key, the operator's own or the one made once."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.domain.errors import BadKey
from gateway.store.errors import StoreAway
from gateway.store.secret_repository import admin_key_hash

_SEEN_FOR_S = 1.0  # so that a reset is heeded within this, and a burst of calls costs one look-up


class AdminKeyHash(Protocol):
    """Where the hash of the admin key is kept."""

    async def admin_key_hash(self) -> str | None:
        """Hex hash, None where no key was made yet."""


def new_admin_key() -> str:
    """A fresh admin key."""
    return f"tga-{secrets.token_urlsafe(32)}"


def configured_admin_key(environment: Mapping[str, str]) -> str | None:
    """The operator's own admin key (`TUNEGATE_ADMIN_KEY`) without space around it; None where it is unset."""
    return environment.get("TUNEGATE_ADMIN_KEY", "").strip() or None


class AdminAuth:
    """Checks admin keys, in constant time.

    Args:
        configured: the operator's key; where there is one, no other opens.
        stored: where the hash of the made key is.
        clock: monotonic seconds.
    """

    def __init__(self, configured: str | None, stored: AdminKeyHash, clock: Callable[[], float]) -> None:
        self._configured = admin_key_hash(configured) if configured else None
        self._stored = stored
        self._clock = clock
        self._last_seen: str | None = None
        self._last_seen_at = -_SEEN_FOR_S

    async def check(self, authorization: str | None) -> None:
        """Return for the bearer of the admin key.

        Raises:
            BadKey: anyone else.
            StoreAway: the store is away and has not been asked before.
        """
        scheme, _, presented = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise BadKey("Missing admin key: send it as `Authorization: Bearer <admin key>`.")
        expected = self._configured or await self._made()
        if expected is None or not hmac.compare_digest(expected, admin_key_hash(presented.strip())):
            raise BadKey("Incorrect admin key.")

    async def _made(self) -> str | None:
        now = self._clock()
        if self._last_seen is not None and now - self._last_seen_at < _SEEN_FOR_S:
            return self._last_seen
        try:
            self._last_seen = await self._stored.admin_key_hash()
        except StoreAway:
            if self._last_seen is None:
                raise
        self._last_seen_at = now
        return self._last_seen
