"""The books of a gateway, read straight from its store: ledger, accounts, counters, what is still open."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Self

import redis

from gateway.store import keys
from gateway.supervisor.paths import embedded_socket
from tests.chaos.kit.checker import Account, Entry
from tests.chaos.kit.clients import Key

SHARDS = [f"{number:02}" for number in range(64)]
LOOK_EVERY_S = 0.2


class Books:
    """Reads an embedded store. Use as a context manager."""

    def __init__(self, data_dir: Path) -> None:
        self._journals = data_dir / "journal"
        self._redis = redis.Redis(unix_socket_path=embedded_socket(data_dir))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._redis.close()

    def open_reservations(self) -> int:
        """Of all shards, by leases and by what they lease; these must not differ."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for shard in SHARDS:
                pipeline.zcard(keys.leases(shard))
                pipeline.hlen(keys.reservations(shard))
            counts = pipeline.execute()
        return max(sum(counts[::2]), sum(counts[1::2]))

    def journals(self) -> list[str]:
        """The journals that are not replayed yet."""
        return sorted(path.name for path in self._journals.glob("*.journal*"))

    def wait_until_settled(self, within_s: float) -> float:
        """Return as soon as nothing is open, at the latest after `within_s`; seconds waited."""
        began = time.monotonic()
        while time.monotonic() - began < within_s and (self.open_reservations() or self.journals()):
            time.sleep(LOOK_EVERY_S)
        return time.monotonic() - began

    def entries(self) -> list[Entry]:
        """The whole ledger."""
        found = []
        for shard in SHARDS:
            start = "-"
            while batch := self._redis.xrange(keys.ledger(shard), start, count=5000):
                found += [Entry(fields[b"t"].decode(), json.loads(fields[b"r"])) for _, fields in batch]
                start = b"(" + batch[-1][0]
        return found

    def account(self, key: Key) -> Account:
        kept: dict[bytes, Any] = self._redis.hgetall(keys.key_account(key.id))
        used, held = (int(kept.get(name, 0)) for name in (b"cost_nanousd", b"held"))
        return Account(key.id, used, held, key.limit_nanousd)

    def counted(self) -> tuple[int, int]:
        """Requests and nano-dollars in the usage counters of all days."""
        totals = {"requests": 0, "cost_nanousd": 0}
        for shard in SHARDS:
            for name in self._redis.scan_iter(keys.usage_of_day(shard, "*"), count=1000):
                for field, count in self._redis.hgetall(name).items():
                    metric = field.decode().rpartition("\x1f")[2]
                    if metric in totals:
                        totals[metric] += int(count)
        return totals["requests"], totals["cost_nanousd"]
