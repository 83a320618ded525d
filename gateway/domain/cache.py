"""What an alias says of the response cache, and what a caller does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Directive = Literal["no-cache", "no-store", "only"]


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How answers of a target are kept. A target without one is never cached.

    Args:
        fingerprint: of all that stands between a caller's body and the model: the revision of the alias, the
            upstreams of its first step, rewrite, defaults. Equal bodies of equal fingerprints ask the same.
        ttl_s: how long an answer is kept.
        max_entry_bytes: the largest that is.
        nondeterministic: answers of calls that ask for variety are kept too.
        replay_pace_ms: between the events of a replayed stream; 0: at once.
    """

    fingerprint: bytes
    ttl_s: int = 3600
    max_entry_bytes: int = 1 << 20
    nondeterministic: bool = False
    replay_pace_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class CacheAsk:
    """What a caller asks of the cache by `x-tunegate-cache` and `x-tunegate-cache-ttl`.

    Args:
        directive: "no-cache" takes no kept answer and keeps the new one, "no-store" neither takes nor keeps,
            "only" takes a kept answer or none at all.
        ttl_s: no older answer is taken, and the new one is kept no longer.
    """

    directive: Directive | None = None
    ttl_s: int | None = None
