"""The data plane's keyring: presented keys into principals, from memory where the memory is fresh."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import structlog

from gateway.auth.guesses import Client, Guesses
from gateway.auth.record import KeyRecord
from gateway.auth.virtual_key import digest, split_key
from gateway.domain.errors import BadKey, StoreUnavailable
from gateway.domain.principal import Principal

FRESH_S = 2.0
"""Up to this age a record is used as it is; then it is read again behind the caller's back."""
STALE_S = 5.0
"""From this age on the caller waits for the new record: a revocation is seen within this time."""
KEEP_S = 300.0
"""How long a record serves while the store is away."""
MAX_KEYS = 20_000
_SEEN_EVERY_S = 60.0

log = structlog.get_logger(__name__)


class KeyAway(Exception):
    """The source of keys does not answer."""


class KeySource(Protocol):
    """Where records come from."""

    async def read(self, key_id: str) -> KeyRecord | None:
        """The record of this id, None where there never was one. Raises `KeyAway`."""

    async def seen(self, key_id: str, at: int) -> None:
        """Note that a key was used, unix seconds. Raises `KeyAway`."""


@dataclass(slots=True)
class _Entry:
    record: KeyRecord
    principal: Principal
    read_at: float
    refreshing: bool = False
    seen_at: float = float("-inf")


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """That a header opens a key, for whoever presents it again.

    Args:
        entry: of the key.
        until: how long the entry's record says so, unix seconds; None: for as long as it is the record.
    """

    entry: _Entry
    until: float | None


class Keyring:
    """Turns the text of a virtual key into its principal.

    Args:
        source: where records come from.
        secret: under which keys are hashed; returns None until the store was seen once.
        clock: monotonic seconds.
        wall_clock: unix seconds, for expiry.
        guesses: makes look-ups wait where many keys were wrong.
    """

    def __init__(
        self,
        source: KeySource,
        secret: Callable[[], bytes | None],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        guesses: Guesses,
    ) -> None:
        self._source = source
        self._secret = secret
        self._clock = clock
        self._wall_clock = wall_clock
        self._guesses = guesses
        self._entries: dict[str, _Entry] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keyed = blake2b(digest_size=16, key=os.urandom(32))
        self._proofs: dict[bytes, Proof] = {}

    def proof(self, authorization: bytes | None) -> Proof:
        """What `remembered` asks for; of an Authorization header that opened nothing, it proves nothing."""
        return self._proofs.get(self._hashed(authorization), _NO_PROOF)

    def remembered(self, proof: Proof) -> Principal | None:
        """The principal of a header that opened a key a moment ago; None where `authenticate` has to look."""
        entry, now = proof.entry, self._clock()
        if (
            now - entry.read_at < FRESH_S
            and now - entry.seen_at < _SEEN_EVERY_S
            and (proof.until is None or self._wall_clock() < proof.until)
        ):
            return entry.principal
        return None

    async def authenticate(self, authorization: bytes | None, client: Client = None) -> Principal:
        """The principal of an Authorization header; `client` is the peer's address and port.

        Raises:
            BadKey: there is no key, or it is unknown, expired or revoked.
            StoreUnavailable: the key is not known here and the store is away.
            Overloaded: too many keys that are not known here wait to be looked up.
        """
        hashed = self._hashed(authorization)
        if (principal := self.remembered(self._proofs.get(hashed, _NO_PROOF))) is not None:
            return principal
        self._proofs.pop(hashed, None)
        proof = await self._open(authorization, client)
        if len(self._proofs) >= MAX_KEYS:
            self._proofs.clear()
        self._proofs[hashed] = proof
        return proof.entry.principal

    def _hashed(self, authorization: bytes | None) -> bytes:
        """A keyed hash, for as long as the process lives.

        It costs a tenth of taking the header apart and of its HMAC.
        """
        keyed = self._keyed.copy()
        keyed.update(authorization or b"")
        return keyed.digest()

    async def _open(self, authorization: bytes | None, client: Client) -> Proof:
        """That the header opens a key. Raises like `authenticate`."""
        key_id, key = _presented(authorization)
        entry = self._entries.get(key_id)
        now = self._clock()
        is_remembered = entry is not None and now - entry.read_at < STALE_S
        if not is_remembered:
            entry = await self._look_up(key_id, key, entry, client)
        elif entry is not None and now - entry.read_at >= FRESH_S and not entry.refreshing:
            entry.refreshing = True
            self._in_background(self._refresh(key_id, entry))
        secret = self._secret()
        if secret is None:
            raise StoreUnavailable(_AWAY)
        unix = self._wall_clock()
        presented = digest(secret, key)
        if is_remembered and entry is not None and not _opens(entry.record, presented, unix):
            # Nobody is refused from memory: the key may have been rotated or prolonged since.
            await self._guesses.turn(client)
            entry = await self._read(key_id, entry)
        record = entry.record if entry is not None else _NOBODY
        if not record.accepts(presented, unix) or entry is None:
            self._guesses.failed(client)
            raise BadKey(f"Incorrect API key provided: {_masked(key_id)}.")
        status = record.status(unix)
        if status != "active":
            self._guesses.failed(client)  # no guess, but a look-up each time all the same
            raise BadKey(f"The API key {_masked(key_id)} is {status}.")
        if now - entry.seen_at >= _SEEN_EVERY_S:
            entry.seen_at = now
            self._in_background(self._note_use(key_id, int(unix)))
        until = record.opens_until(presented)
        return Proof(entry, None if until == math.inf else until)

    async def reload(self, key_id: str) -> Principal:
        """The principal as the store has it now: the one remembered has been changed.

        Raises:
            BadKey: it is gone, expired or revoked.
            StoreUnavailable: the store is away.
        """
        entry = await self._read(key_id, None)
        if entry is None or entry.record.status(self._wall_clock()) != "active":
            raise BadKey(f"The API key {_masked(key_id)} is no longer valid.")
        return entry.principal

    def confirmed(self, principal: Principal) -> None:
        """Take the principal's record for read just now: the store has admitted a call at its revision.

        So a key that is in use is read again only where it has changed, however many are.
        """
        entry = self._entries.get(principal.key_id)
        if entry is not None and entry.principal is principal:
            entry.read_at = self._clock()

    async def aclose(self) -> None:
        """Stop what runs in the background."""
        self._guesses.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look_up(self, key_id: str, key: str, known: _Entry | None, client: Client) -> _Entry | None:
        """Read the record; in its turn, unless the key opened here before."""
        secret = self._secret()
        if (
            known is None
            or secret is None
            or not known.record.accepts(digest(secret, key), self._wall_clock())
        ):
            await self._guesses.turn(client)
        return await self._read(key_id, known)

    async def _read(self, key_id: str, known: _Entry | None) -> _Entry | None:
        try:
            record = await self._source.read(key_id)
        except KeyAway:
            if known is not None and self._clock() - known.read_at < KEEP_S:
                return known
            raise StoreUnavailable(_AWAY) from None
        return self._remember(key_id, record, known)

    def _remember(self, key_id: str, record: KeyRecord | None, known: _Entry | None) -> _Entry | None:
        if record is None:
            if (former := self._entries.pop(key_id, None)) is not None:
                former.read_at = float("-inf")
            return None
        if len(self._entries) >= MAX_KEYS and key_id not in self._entries:
            self._entries.pop(next(iter(self._entries)))
        seen_at = known.seen_at if known is not None else float("-inf")
        entry = _Entry(record, record.principal(), self._clock(), seen_at=seen_at)
        if (former := self._entries.get(key_id)) is not None:
            former.read_at = float("-inf")  # what it proved is proven no more
        self._entries[key_id] = entry
        return entry

    async def _refresh(self, key_id: str, entry: _Entry) -> None:
        try:
            self._remember(key_id, await self._source.read(key_id), entry)
        except KeyAway:
            entry.refreshing = False

    async def _note_use(self, key_id: str, at: int) -> None:
        try:
            await self._source.seen(key_id, at)
        except KeyAway:
            log.debug("last use of a key not noted", key=key_id)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_AWAY = "The store of keys is away, so this key cannot be checked. Try again shortly."
_NOBODY = KeyRecord(id="", name="", digests=(), created_at=0)
_NO_PROOF = Proof(_Entry(_NOBODY, _NOBODY.principal(), read_at=float("-inf")), until=float("-inf"))


def _opens(record: KeyRecord, presented: str, unix: float) -> bool:
    return record.accepts(presented, unix) and record.status(unix) == "active"


def _presented(authorization: bytes | None) -> tuple[str, str]:
    if not authorization:
        raise BadKey(
            "You didn't provide an API key. Send it as a bearer token: `Authorization: Bearer tg-...`."
        )
    scheme, _, token = authorization.decode("latin-1").partition(" ")
    key = token.strip()
    split = split_key(key) if scheme.lower() == "bearer" else None
    if split is None:
        raise BadKey("Incorrect API key provided: keys of this gateway look like `tg-<id>-<secret>`.")
    return split[0], key


def _masked(key_id: str) -> str:
    return f"tg-{key_id}-***"
