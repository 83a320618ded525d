"""How the answers of a target are kept: `cache` of the file, what an alias says otherwise, and a fingerprint.

The fingerprint is of all that stands between a caller's body and the model: whatever of it changes, no answer
from before is found again.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgspec

from gateway.config.models import Settings
from gateway.config.policy import CacheOverrides
from gateway.config.upstream import UpstreamSettings
from gateway.domain.cache import CachePolicy
from gateway.domain.plan import Candidate, Target

_NO_MATTER = {
    *("api_keys", "owns", "training", "models", "timeouts", "max_concurrency", "price_multiplier", "prices"),
    *("transport", "allow_private", "trace_context", "shutdown_dates", "stream_usage"),
}
"""Fields of an upstream that change no answer. `models` counts where it chooses one: as the candidate's."""


class Caching:
    """Gives targets their cache policy.

    Args:
        settings: the valid configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.cache
        self._upstreams = {name: _of_upstream(block) for name, block in settings.upstreams.items()}

    def keep(self, target: Target, own: CacheOverrides | None = None) -> Target:
        """The target with its policy, with none where its answers are not to be kept.

        Args:
            own: what its alias says in place of the fields of `cache`.
        """
        given = {} if own is None else own.model_dump(exclude_none=True)
        settings = self._settings.model_copy(update=given)
        if not settings.enabled or not target.candidates:
            return target
        policy = CachePolicy(
            fingerprint=_digest([target.release, target.defaults, *map(self._of_candidate, _first(target))]),
            ttl_s=settings.ttl_s,
            max_entry_bytes=settings.max_entry_bytes,
            nondeterministic=settings.nondeterministic,
            replay_pace_ms=settings.replay_pace_ms,
        )
        return replace(target, cache=policy)

    def _of_candidate(self, candidate: Candidate) -> list[object]:
        """What one candidate adds to a body, and where it sends it."""
        upstream = self._upstreams.get(candidate.upstream)
        return [candidate.upstream, upstream, candidate.model, candidate.rewrite, candidate.adapter]


def _first(target: Target) -> list[Candidate]:
    """The candidates whose answers are kept: those of the alias itself, not of its fallbacks."""
    return [candidate for candidate in target.candidates if candidate.step == 0]


def _of_upstream(block: UpstreamSettings) -> bytes:
    """What an upstream is: another address or another account may give other answers."""
    headers = {name: value.get_secret_value() for name, value in block.headers.items()}
    return _digest([block.model_dump(mode="json", exclude={*_NO_MATTER, "headers"}), headers])


def _digest(parts: object) -> bytes:
    return hashlib.sha256(_encode(parts)).digest()


_encode = msgspec.json.Encoder(order="sorted").encode
