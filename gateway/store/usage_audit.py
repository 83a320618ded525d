"""What an audit of the counters needs of the store: both sides at one moment, and a safe way to set one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gateway.store.client import Store
from gateway.store.keys import KEYS_INDEX, ledger, repair
from gateway.store.scripts import Script
from gateway.store.usage import Counters
from gateway.store.usage_events import Position, position_of

REPAIR_MS = 10_000
"""How long a repair keeps others off; it takes a few ms."""

_KEYS = 5000  # ids of virtual keys asked for at once


class Moment(NamedTuple):
    """Counters, and what the ledger of their shard was when they stood so.

    Args:
        end: its last entry; `START` where the shard has no ledger.
        lost: how many entries it has lost to trimming.
        oldest: its oldest entry; None where it has none.
        figures: in the order in which they were asked for.
    """

    end: Position
    lost: int
    oldest: Position | None
    figures: list[int]


class AuditStore:
    """Reads and sets counters for an audit. Methods raise `StoreAway` where the store cannot be reached."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._at = Script.load("counters_at")
        self._repair = Script.load("counters_repair")

    async def virtual_keys(self) -> dict[str, list[str]]:
        """The ids of all virtual keys, revoked ones too, by shard."""
        found: dict[str, list[str]] = {}
        start = 0
        while page := await self._store.call("ZRANGE", KEYS_INDEX, start, start + _KEYS - 1):
            for key in map(bytes.decode, page):
                found.setdefault(key[:2], []).append(key)
            start += _KEYS
        return found

    async def at_once(self, bucket: Counters, names: Sequence[bytes], *, token: str = "") -> Moment | None:
        """Counters of a bucket and the end of their ledger, at the same moment; a few hundred at most.

        With a `token` a repair begins, and nobody else's can until it is done or 10 s have passed. None while
        somebody else's has begun.
        """
        reply = await self._store.script(
            self._at,
            [ledger(bucket.shard), bucket.store_key, repair(bucket.shard)],
            [token, REPAIR_MS, *names],
        )
        if reply[0] == 0:
            return None
        _, end, lost, oldest, *figures = reply
        return Moment(
            position_of(end),
            lost,
            position_of(oldest) if oldest else None,
            [int(figure) for figure in figures],
        )

    async def repair(
        self, bucket: Counters, differences: Mapping[bytes, int], *, token: str, lives_ms: int
    ) -> bool:
        """Move counters by their differences, and end the repair; False where it was over already.

        `lives_ms`: how long the bucket lives if this makes it; 0 = for ever.
        """
        arguments: list[str | bytes | int] = [token, lives_ms]
        for name, difference in differences.items():
            arguments += [name, difference]
        done = await self._store.script(self._repair, [bucket.store_key, repair(bucket.shard)], arguments)
        return bool(done)
