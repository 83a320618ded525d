"""Accounts of virtual keys in the store: admission, settlement, renewal, credit. One script call each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.limits.values import (
    AccountView,
    Admission,
    Bounds,
    OpenReservation,
    Settlement,
    SettlementResult,
    Verdict,
)
from gateway.store.client import Store


class AccountStore:
    """The accounts of all keys. All methods raise `StoreAway` where the store cannot be reached."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def admit(self, admission: Admission, *, timeout_s: float | None = None) -> Verdict:
        """Admit a call or refuse it, all or nothing.

        Idempotent by request id: a call that is open or settled is answered without being taken again.
        """
        raise NotImplementedError

    async def settle(self, settlement: Settlement, *, timeout_s: float | None = None) -> SettlementResult:
        """End a call: release what it holds, write its record, move the counters. Idempotent.

        "stored" once; "duplicate" where a record that knows as much is there; "corrected" where this one
        knew more; "absent" where `only_if_reserved` found no reservation whose lease is over.
        """
        raise NotImplementedError

    async def renew(self, process: str, calls: Mapping[str, Sequence[str]]) -> int:
        """Extend the leases of open calls: request ids by key id. Returns how many are still reserved."""
        raise NotImplementedError

    async def overdue(self, shard: str, limit: int = 100) -> list[OpenReservation]:
        """Reservations of the shard ("00" to "63") whose lease is over, the oldest first."""
        raise NotImplementedError

    async def add_credit(self, key_id: str, nanousd: int, *, grant_id: str) -> int:
        """Grant credit (or take some back), once for each `grant_id`; returns what is left, nano-dollars."""
        raise NotImplementedError

    async def account(self, key_id: str, bounds: Bounds) -> AccountView:
        """How a key stands now. Changes nothing."""
        raise NotImplementedError

    async def beat(self, process: str) -> int:
        """Say that this worker lives, at least each 10 s; returns how many do, over all replicas."""
        raise NotImplementedError
