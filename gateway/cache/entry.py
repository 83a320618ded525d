"""A kept answer, as bytes and back. Bytes that anyone tampered with, or that broke, are no entry."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.cache.key import Keys
from gateway.domain.usage import Usage

_VERSION = b"1"


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """An answer and what is known of it.

    Args:
        kind: "json" where `parts` is one body, "stream" where they are events, each as it left but for the
            end mark.
        created_at: unix seconds.
        model: that answered, the id asked of `upstream`.
        usage: as the upstream stated it.
        service_tier: the one it says it used.
    """

    kind: Literal["json", "stream"]
    parts: tuple[bytes, ...]
    created_at: float
    model: str
    upstream: str
    usage: Usage | None = None
    service_tier: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return sum(map(len, self.parts))

    def encode(self, keys: Keys, cache_key: str) -> bytes:
        """What is kept under a cache key; it can be read under no other."""
        return keys.seal(cache_key, _VERSION + _encode(self))

    @classmethod
    def decode(cls, keys: Keys, cache_key: str, kept: bytes) -> Entry | None:
        """What was kept; None where it is corrupt, forged, of another version or of another key."""
        data = keys.open(cache_key, kept)
        if data is None or not data.startswith(_VERSION):
            return None
        try:
            return _decode(data[len(_VERSION) :])
        except msgspec.DecodeError:
            return None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode
