"""Ledger records for tests, settled as a worker settles them."""

import time
from dataclasses import dataclass, field
from typing import Any

from gateway.limits.values import SettlementResult
from gateway.metering.record import LedgerRecord
from gateway.store.accounts import AccountStore
from gateway.store.client import Store

KEY_A = "07aaaaaaaaaa"
KEY_B = "07bbbbbbbbbb"
KEY_C = "42cccccccccc"
HOUR, DAY = 3600, 86400


def today() -> int:
    """The begin of this UTC day, unix seconds."""
    return int(time.time()) // DAY * DAY


@dataclass
class Book:
    """Writes records, and keeps them for the test to compare with."""

    store: Store
    written: list[LedgerRecord] = field(default_factory=list)

    async def settle(
        self, at: float | None = None, *, expect: SettlementResult = "stored", **fields: Any
    ) -> LedgerRecord:
        """Settle a request that came `at` (unix seconds, by default now)."""
        number = len(self.written)
        known: dict[str, Any] = {
            "request_id": f"req_{number}",
            "ts": round(time.time() if at is None else at, 3),
            "key": KEY_A,
            "alias": "support",
            "release": "support@1/stable",
            "model": "ft:gpt-4o:acme::x",
            "upstream": "a",
            "route": "chat.completions",
            "state": "exact",
            "prompt_tokens": 100,
            "cached_tokens": 40,
            "completion_tokens": 10,
            "reasoning_tokens": 3,
            "cost_nanousd": 1_000_001,
            "price_version": "1",
            "usage_source": "upstream",
        }
        record = LedgerRecord(**{**known, **fields})
        settlement = record.settlement(
            admitted_ms=round(record.ts * 1000), tokens_actual=0, was_reserved=False
        )
        assert await AccountStore(self.store).settle(settlement) == expect
        self.written.append(record)
        return record
