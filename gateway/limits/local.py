"""Limits of one process on its own, for while the store is away.

Each process gives out its share: the limit divided by the workers that lived when the store was last seen, at
least 1. What was counted in the store is not known here, so every bucket starts empty: over an outage a key
gets at most its limit once more than it should, or one for each worker where there are more workers than the
limit has. Money is not counted: nobody can say what the others spend meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.limits.bucket import UNIT, Bucket, fits, settled
from gateway.limits.values import UNLIMITED, Admission, Admitted, Bounds, Reason, Refused
from gateway.limits.verdict import Levels, admitted, refused

FIRST_CLEANING = 1024
"""Keys that are remembered before the idle ones among them are looked for."""


@dataclass(slots=True)
class _Key:
    rpm: Bucket | None = None
    tpm: Bucket | None = None
    in_use: int = 0


class LocalLimiter:
    """Admits calls without the store.

    Args:
        clock_ms: unix time, ms.
    """

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self.processes = 1
        """Workers that share the limits: what `AccountStore.beat` answered last."""
        self._clock_ms = clock_ms
        self._keys: dict[str, _Key] = {}
        self._open: dict[str, tuple[str, int | None]] = {}  # tokens taken; None: there was no limit
        self._clean_at = FIRST_CLEANING

    def admit(self, admission: Admission) -> Admitted | Refused:
        """Admit a call or refuse it. Idempotent by request id while the call is open."""
        now = self._clock_ms()
        bounds = self._share(admission.bounds)
        key = self._keys.get(admission.key_id) or self._new_key(admission.key_id, now)
        # Written whatever the answer is: else a clock that went back, or another share, would let a bucket
        # drain at the wrong pace until a call fits.
        key.rpm, key.tpm = _moved(key.rpm, now, bounds.rpm), _moved(key.tpm, now, bounds.tpm)
        rpm, tpm = _level(key.rpm, now, bounds.rpm), _level(key.tpm, now, bounds.tpm)
        tokens = min(admission.tokens, UNLIMITED)
        if admission.request_id in self._open:
            return admitted(bounds, Levels(now, rpm, tpm, key.in_use))
        reason: Reason | None = None
        if not _allows(bounds.rpm, rpm, 1):
            reason = "requests"
        elif not _allows(bounds.tpm, tpm, tokens):
            reason = "tokens"
        elif bounds.concurrency is not None and key.in_use >= bounds.concurrency:
            reason = "concurrency"
        if reason is not None:
            return refused(reason, admission, bounds, Levels(now, rpm, tpm, key.in_use))
        if bounds.rpm is not None:
            rpm += UNIT
            key.rpm = Bucket(rpm, now, bounds.rpm)
        if bounds.tpm is not None:
            tpm += tokens * UNIT
            key.tpm = Bucket(tpm, now, bounds.tpm)
        key.in_use += 1
        self._open[admission.request_id] = (admission.key_id, None if bounds.tpm is None else tokens)
        return admitted(bounds, Levels(now, rpm, tpm, key.in_use))

    def settle(self, request_id: str, tokens_actual: int) -> None:
        """End a call. Nothing happens to one that was not admitted here, or has ended."""
        key_id, tokens = self._open.pop(request_id, (None, None))
        if key_id is None:
            return
        key, now = self._keys[key_id], self._clock_ms()
        key.in_use -= 1
        if key.tpm is not None and tokens is not None:
            level = key.tpm.level_at(now, key.tpm.limit)
            key.tpm = Bucket(settled(level, min(tokens_actual, UNLIMITED) - tokens), now, key.tpm.limit)

    def _share(self, bounds: Bounds) -> Bounds:
        return Bounds(*(self._share_of(limit) for limit in (bounds.rpm, bounds.tpm, bounds.concurrency)))

    def _share_of(self, limit: int | None) -> int | None:
        if limit is None or limit >= UNLIMITED:
            return None
        return max(1, limit // self.processes) if limit else 0

    def _new_key(self, key_id: str, now: int) -> _Key:
        if len(self._keys) >= self._clean_at:
            self._keys = {name: key for name, key in self._keys.items() if not _is_idle(key, now)}
            self._clean_at = max(FIRST_CLEANING, 2 * len(self._keys))
        key = self._keys[key_id] = _Key()
        return key


def _level(bucket: Bucket | None, now: int, limit: int | None) -> int:
    return bucket.level_at(now, limit) if bucket is not None and limit else 0


def _moved(bucket: Bucket | None, now: int, limit: int | None) -> Bucket | None:
    return Bucket(bucket.level_at(now, limit), now, limit) if bucket is not None and limit else bucket


def _allows(limit: int | None, level: int, cost: int) -> bool:
    return limit is None or (limit > 0 and fits(level, cost, limit))


def _is_idle(key: _Key, now: int) -> bool:
    return key.in_use == 0 and all(
        bucket is None or bucket.level_at(now, bucket.limit) == 0 for bucket in (key.rpm, key.tpm)
    )
