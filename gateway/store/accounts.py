"""Accounts of virtual keys in the store: admission, settlement, renewal, credit.

Each is one call of one script in one slot, so it happens all at once or not at all, for all replicas. What
the scripts are told and answer is in `account_wire.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from gateway.limits.values import (
    SETTLEMENT_RESULTS,
    AccountView,
    Admission,
    Bounds,
    OpenReservation,
    Settlement,
    SettlementResult,
    Verdict,
)
from gateway.store import account_wire, keys
from gateway.store.account_forms import AdmissionForm, SettlementForm
from gateway.store.account_scripts import AccountScripts
from gateway.store.client import Store, Way

RENEW_AT_ONCE = 500
"""Calls that one script call renews: so many keep the server busy for a fraction of a millisecond."""


class AccountStore:
    """The accounts of all keys.

    All methods raise `StoreAway` where the store cannot be reached, and `StoreReplyError` where it refuses.

    Args:
        settling: the client that settlements go by, where it is another one: one that waits for replicas.
    """

    def __init__(
        self, store: Store, scripts: AccountScripts | None = None, *, settling: Store | None = None
    ) -> None:
        self._store = store
        self._settling = settling or store
        self._scripts = scripts or AccountScripts.load()

    async def admit(self, admission: Admission, *, timeout_s: float | None = None) -> Verdict:
        """Admit a call or refuse it, all or nothing.

        Idempotent by request id: a call that is open or settled is admitted again without being taken again.
        """
        script = self._scripts.admit
        key, packed = account_wire.admit_command(script, admission)
        return account_wire.verdict(await self._store.run(script, key, packed, timeout_s), admission)

    async def settle(self, settlement: Settlement, *, timeout_s: float | None = None) -> SettlementResult:
        """End a call: give back what it holds, write its record, move the counters. Idempotent.

        "stored" once; "duplicate" where a record is there that knows as much; "corrected" where this one knew
        more; "absent" where `only_if_reserved` found no reservation whose lease is over.
        """
        script = self._scripts.settle
        key, packed = account_wire.settle_command(script, settlement)
        reply: int = await self._settling.run(script, key, packed, timeout_s)
        return SETTLEMENT_RESULTS[reply]

    def admitting(self, like: Admission) -> tuple[AdmissionForm, Way]:
        """For who makes many admissions on the same terms as this one: their form, and the way they go.

        What the script answers is read by `account_wire.py`; where it is unknown, `admit` brings it there.
        """
        script = self._scripts.admit
        form = account_wire.admission_form(script, like)
        return form, self._store.way(script, form.key)

    def settling(self, key_id: str, *, tpm: int | None, has_credit: bool) -> tuple[SettlementForm, Way]:
        """The same for the settlements of calls that were admitted on the same terms; see `Settlement`."""
        script = self._scripts.settle
        form = account_wire.settlement_form(script, key_id, tpm, has_credit)
        return form, self._settling.way(script, form.key)

    async def renew(self, process: str, calls: Mapping[str, Sequence[str]]) -> int:
        """Extend the leases of open calls: request ids by key id. Returns how many are still reserved.

        Due each 10 s: a lease lasts `LEASE_MS`.
        """
        shards: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for key_id, request_ids in calls.items():
            shards[key_id[:2]] += [(key_id, request_id) for request_id in request_ids]
        renewed = 0
        for shard, pairs in shards.items():
            for start in range(0, len(pairs), RENEW_AT_ONCE):
                some = pairs[start : start + RENEW_AT_ONCE]
                key_ids = dict.fromkeys(key_id for key_id, _ in some)
                renewed += await self._store.script(
                    self._scripts.renew,
                    [keys.leases(shard), *map(keys.key_limits, key_ids)],
                    [process, *(request_id for _, request_id in some)],
                )
        return renewed

    async def overdue(self, shard: str, limit: int = 100) -> list[OpenReservation]:
        """Reservations of the shard ("00" to "63") whose lease is over, the oldest first."""
        found = await self._store.script(
            self._scripts.overdue, [keys.leases(shard), keys.reservations(shard)], [limit]
        )
        return [account_wire.open_reservation(*pair) for pair in zip(found[::2], found[1::2], strict=True)]

    async def add_credit(self, key_id: str, nanousd: int, *, grant_id: str) -> int:
        """Grant credit (or take some back), once for each `grant_id`; returns what is left, nano-dollars."""
        left: int = await self._store.script(
            self._scripts.credit,
            [keys.key_account(key_id), keys.grant_mark(key_id[:2], grant_id)],
            [nanousd],
        )
        return left

    async def account(self, key_id: str, bounds: Bounds) -> AccountView:
        """How a key stands now. Changes nothing."""
        reply = await self._store.script(
            self._scripts.account, [keys.key_limits(key_id), keys.key_account(key_id)], []
        )
        return account_wire.account_view(reply, bounds)

    async def beat(self, process: str) -> int:
        """Say that this worker lives, each 10 s; returns how many workers do, over all replicas."""
        living: int = await self._store.script(self._scripts.beat, [keys.PROCESSES], [process])
        return living
