"""Under which key an answer is kept: a key tells nothing, and nobody finds it without the gateway's secret.

HMAC-SHA256 (RFC 2104) over all that an answer depends on. Every part stands behind its length, so that no
two lists of parts are the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from gateway.cache.canonical import canonical
from gateway.cache.port import Generations
from gateway.cache.scope import Scope
from gateway.domain.call import Call
from gateway.domain.plan import Target


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, by whom: two calls share an answer where all of it is equal.

    Args:
        scope: who may share the answer.
        route: a call's route.
        model: the model that the requested name means, not the name.
        fingerprint: of what the alias adds, and the cap on output that the key sets.
        body: the canonical form of the caller's body.
    """

    scope: Scope
    route: str
    model: str
    fingerprint: bytes
    body: bytes

    @classmethod
    def of(cls, scope: Scope, call: Call, target: Target, fingerprint: bytes, cap: int | None) -> Question:
        """What a call asks.

        Args:
            target: what the requested name means; its first candidate has the model.
            fingerprint: of the target's cache policy.
            cap: on output tokens where the caller names none.

        Raises:
            NotCanonical: the body can be read in two ways.
        """
        capped = fingerprint if cap is None else b"%b %d" % (fingerprint, cap)
        return cls(scope, call.route.name, target.candidates[0].model, capped, canonical(call.fields))


class Keys:
    """Makes cache keys and seals with the gateway's secret.

    Args:
        secret: shared by all processes that share a cache.
    """

    def __init__(self, secret: bytes) -> None:
        self._made = hmac.new(secret, b"tunegate cache key 1", hashlib.sha256)
        self._sealed = hmac.new(secret, b"tunegate cache seal 1", hashlib.sha256)

    def key(self, question: Question, generations: Generations) -> str:
        """64 hexadecimal digits."""
        parts = (
            str(question.scope).encode(),
            question.route.encode(),
            question.model.encode(),
            question.fingerprint,
            _join(str(number).encode() for number in generations),
            question.body,
        )
        made = self._made.copy()
        made.update(_join(parts))
        return made.hexdigest()

    def seal(self, place: str, data: bytes) -> bytes:
        """`data` behind a seal that holds at this place alone."""
        return self._seal_of(place, data) + data

    def open(self, place: str, sealed: bytes) -> bytes | None:
        """What was sealed for this place; None for anything else."""
        seal, data = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
        return data if hmac.compare_digest(seal, self._seal_of(place, data)) else None

    def _seal_of(self, place: str, data: bytes) -> bytes:
        seal = self._sealed.copy()
        seal.update(_join((place.encode(), data)))
        return seal.digest()[:_SEAL_BYTES]


_SEAL_BYTES = 16


def _join(parts: Iterable[bytes]) -> bytes:
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)


def fingerprint(*parts: object) -> bytes:
    """A digest of configuration: of anything that JSON can say."""
    return hashlib.sha256(_encode(parts)).digest()


_encode = msgspec.json.Encoder(order="sorted").encode
