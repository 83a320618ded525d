"""Settlements for tests, and a store that takes them as it is told."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.limits.values import OpenReservation, Settlement, SettlementResult
from gateway.metering.entry import encode_entry
from gateway.metering.record import Basis, LedgerRecord
from gateway.store.errors import StoreAway

KEY = "07abcdefghij"
OTHER_KEY = "08abcdefghij"


def record(request_id: str = "req_1", **fields: object) -> LedgerRecord:
    known = {
        "ts": 1795424002.123,
        "key": KEY,
        "route": "chat.completions",
        "state": "exact",
        "prompt_tokens": 9,
        "completion_tokens": 12,
        "cost_nanousd": 4500,
        "usage_source": "upstream",
    }
    return LedgerRecord(request_id=request_id, **(known | fields))  # type: ignore[arg-type]  # fields of every type


def settlement(request_id: str = "req_1", **fields: object) -> Settlement:
    return record(request_id, **fields).settlement(admitted_ms=1795424002123, tokens_actual=21, tpm=1000)


def entries(*request_ids: str) -> list[bytes]:
    return [encode_entry(settlement(each)) for each in request_ids]


def reservation(request_id: str = "req_1", **fields: object) -> OpenReservation:
    known = {
        "key_id": KEY,
        "process": "worker-1",
        "admitted_ms": 1795424002123,
        "tokens": 40,
        "bound_nanousd": 9000,
        "has_credit": False,
        "basis": Basis(route="chat.completions", alias="support", model="ft:m", upstream="openai").encode(),
    }
    return OpenReservation(request_id=request_id, **(known | fields))  # type: ignore[arg-type]  # fields of every type


@dataclass
class FakeAccounts:
    """Takes settlements, unless `answer` raises; knows what it has, as the store does."""

    is_away: bool = False
    refuses: dict[str, Exception] = field(default_factory=dict)
    hangs: bool = False
    settled: list[Settlement] = field(default_factory=list)
    asked: int = 0
    on_settle: Callable[[], None] = lambda: None

    @property
    def ids(self) -> list[str]:
        return [settlement.request_id for settlement in self.settled]

    async def settle(
        self,
        settlement: Settlement,
        *,
        timeout_s: float | None = None,  # noqa: ARG002  # the port's signature
    ) -> SettlementResult:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreAway("the store is away")
        if settlement.request_id in self.refuses:
            raise self.refuses[settlement.request_id]
        self.on_settle()
        if settlement.request_id in self.ids:
            return "duplicate"
        self.settled.append(settlement)
        return "stored"


@dataclass
class FakeRejected:
    """Keeps what was rejected in memory."""

    kept: list[str | None] = field(default_factory=list)

    async def keep(
        self,
        payload: bytes,  # noqa: ARG002  # the port's signature
        settlement: Settlement | None,
        error: Exception,  # noqa: ARG002  # as above
    ) -> None:
        self.kept.append(settlement.request_id if settlement is not None else None)
