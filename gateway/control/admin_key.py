"""Who may use the control plane: the bearer of the admin key, the operator's own or the one made once."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from gateway.auth.address import origin_of
from gateway.control.wrong_keys import MAX_TRIES, WITHIN_S, WrongKeys
from gateway.domain.errors import BadKey, RateLimited
from gateway.store.errors import StoreAway
from gateway.store.secret_repository import admin_key_hash

log = structlog.get_logger(__name__)

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
    """Checks admin keys, in constant time, and only so many wrong ones of an address.

    An address that has tried too many is refused whatever comes next, the right key too: a bound that the
    right key passes does not bound guessing. Other addresses are not concerned.

    Args:
        configured: the operator's key; where there is one, no other opens.
        stored: where the hash of the made key is.
        clock: monotonic seconds.
        on_refused: told of each attempt that is refused unseen.
    """

    def __init__(
        self,
        configured: str | None,
        stored: AdminKeyHash,
        clock: Callable[[], float],
        on_refused: Callable[[], None],
    ) -> None:
        self._configured = admin_key_hash(configured) if configured else None
        self._stored = stored
        self._clock = clock
        self._on_refused = on_refused
        self._wrong = WrongKeys()
        self._last_seen: str | None = None
        self._last_seen_at = -_SEEN_FOR_S

    async def check(self, authorization: str | None, client: tuple[str, int] | None = None) -> None:
        """Return for the bearer of the admin key; `client` is the peer's address and port.

        Raises:
            BadKey: anyone else.
            RateLimited: somebody at this address has tried too many other keys.
            StoreAway: the store is away and has not been asked before.
        """
        scheme, _, presented = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise BadKey("Missing admin key: send it as `Authorization: Bearer <admin key>`.")
        origin = origin_of(client)
        wait_s = self._wrong.wait_s(origin, self._clock())
        if wait_s > 0:
            self._on_refused()
            raise RateLimited("Too many wrong admin keys came from this address.", "requests", wait_s)
        expected = self._configured or await self._made()
        hashed = admin_key_hash(presented.strip())
        if expected is None or not hmac.compare_digest(expected, hashed):
            if self._wrong.add(origin, hashed, self._clock()):
                log.warning(
                    "many wrong admin keys: no more of this address are looked at for a while",
                    address=origin,
                    tries=MAX_TRIES,
                    within_s=WITHIN_S,
                )
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
