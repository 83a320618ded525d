"""Settlements written into a store in bulk, with the result that `settle.lua` has, a dozen times as fast.

For filling a ledger with the past: the script writes each record at the server's own present time. Here the
caller says when a call was settled, records go in with that as their time, and counters are added up and
written once for many calls. Whatever of a call had expired by now is left out. Only for calls that hold
nothing (`was_reserved=False`) and are settled once each, in the order of time. A test holds what is in the
store after this and after the script equal.
"""

from collections.abc import Callable
from functools import lru_cache

import hiredis

from gateway.control.usage_rows import name_of
from gateway.limits.values import METRICS, Settlement
from gateway.store import account_wire, keys
from gateway.store.usage import SEPARATOR

MARK_MS, DAY_MS, MONTH_MS, HOURLY_MS = (days * 86_400_000 for days in (1, 4, 64, 400))  # as in settle.lua
_OF_KEY = [METRICS.index(name) for name in ("requests", "prompt_tokens", "completion_tokens", "cost_nanousd")]
_COST = METRICS.index("cost_nanousd")
_AT_ONCE = 500  # commands that are sent together
_EACH = 200_000  # calls whose counters are added up before they are written

Group = tuple[str, bool, str, str]
"""Key, whether it has credit, dimensions, hour: what calls are added up by."""


class BulkLedger:
    """Takes settlements; `close` writes what still waits.

    Args:
        send: takes packed commands and their number.
        now_ms: the present; what would have expired by then is not written.
    """

    def __init__(self, send: Callable[[bytes, int], None], now_ms: int) -> None:
        self._send = send
        self._now_ms = now_ms
        self._packed: list[bytes] = []
        self._sums: dict[Group, list[int]] = {}
        self._calls = 0
        self._settled_ms = 0

    def settle(self, settlement: Settlement, settled_ms: int) -> None:
        """Write the record, count the call."""
        names = keys.of_account(settlement.key_id)
        state, dimensions = settlement.state, settlement.dimensions.joined()
        admitted_ms, _, *counters = account_wire.figures_of(settlement)
        if settlement.was_reserved or state == "withdrawn" or settled_ms < self._settled_ms:
            raise ValueError("only calls that were served and hold nothing, in the order of time")
        self._settled_ms = settled_ms
        self._write("XADD", names.ledger, f"{settled_ms}-*", "t", "event", "r", settlement.record)
        if settled_ms + MARK_MS > self._now_ms:
            told = f"{state} {admitted_ms}"
            if state != "exact":
                told += f" {settlement.has_credit:d}|{' '.join(map(str, counters))}|{dimensions}"
            self._write("SET", names.marks + settlement.request_id, told, "PXAT", settled_ms + MARK_MS)
        group = (settlement.key_id, settlement.has_credit, dimensions, _hour(admitted_ms // 3_600_000))
        sums = self._sums.get(group)
        self._sums[group] = counters if sums is None else [a + b for a, b in zip(sums, counters, strict=True)]
        self._calls += 1
        if self._calls % _EACH == 0:
            self._count()

    def close(self) -> None:
        """Write what waits."""
        self._count()
        self._flush()

    def _count(self) -> None:
        """Move the counters by what has been added up."""
        totals: dict[str, dict[str, int]] = {}
        expires: dict[str, int] = {}

        def move(key: str, field: str, amount: int, ttl_ms: int | None = None) -> None:
            if amount and (ttl_ms is None or self._settled_ms + ttl_ms > self._now_ms):
                fields = totals.setdefault(key, {})
                fields[field] = fields.get(field, 0) + amount
                if ttl_ms is not None:
                    expires[key] = self._settled_ms + ttl_ms

        for (key_id, has_credit, dimensions, hour), counters in self._sums.items():
            day, month = hour[:8], hour[:6]
            of_day, of_hour = keys.usage_of_day(key_id[:2], day), keys.usage_of_hour(key_id[:2], hour)
            for metric, amount in zip(METRICS, counters, strict=True):
                field = f"{dimensions}{SEPARATOR}{metric}"
                move(of_day, field, amount)
                move(of_hour, field, amount, HOURLY_MS)
            for place in _OF_KEY:
                move(keys.key_period(key_id, day), METRICS[place], counters[place], DAY_MS)
                move(keys.key_period(key_id, month), METRICS[place], counters[place], MONTH_MS)
            move(keys.key_account(key_id), "cost_nanousd", counters[_COST])
            if has_credit:
                move(keys.key_account(key_id), "spent", counters[_COST])
        for key, fields in totals.items():
            for field, amount in fields.items():
                self._write("HINCRBY", key, field, amount)
            if key in expires:
                self._write("PEXPIREAT", key, expires[key])
        self._sums = {}

    def _write(self, *command: str | bytes | int) -> None:
        self._packed.append(hiredis.pack_command(command))
        if len(self._packed) >= _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._packed:
            self._send(b"".join(self._packed), len(self._packed))
            self._packed = []


@lru_cache(maxsize=4096)
def _hour(number: int) -> str:
    return name_of("hour", number * 3600)
