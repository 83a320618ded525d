"""What a flight's leader leaves in the store for followers in other processes: sealed, in order.

A frame holds for its place alone: one that was lost, moved, repeated or forged is not read.
"""

from __future__ import annotations

import msgspec

from gateway.cache.flight import Head, Tail
from gateway.cache.key import Keys


class Rejection(msgspec.Struct, frozen=True, array_like=True):
    """The upstream's verdict on this very request: it is the same for all who make it."""

    status: int
    body: bytes


class Frame(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A piece of a flight: how it begins, parts of it, how it ends. Any may be absent."""

    head: Head | None = None
    parts: tuple[bytes, ...] = ()
    tail: Tail | None = None
    rejection: Rejection | None = None

    def encode(self, keys: Keys, cache_key: str, flight: str, number: int) -> bytes:
        """The bytes to leave in the store as this frame of the flight; the first is 0."""
        return keys.seal(_place(cache_key, flight, number), _encode(self))

    @classmethod
    def decode(cls, keys: Keys, cache_key: str, flight: str, number: int, sealed: bytes) -> Frame | None:
        """What was left there; None for anything else."""
        data = keys.open(_place(cache_key, flight, number), sealed)
        if data is None:
            return None
        try:
            return _decode(data)
        except msgspec.DecodeError:
            return None


def _place(cache_key: str, flight: str, number: int) -> str:
    return f"{cache_key} {flight} {number}"


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode
