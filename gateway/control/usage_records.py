"""Events of the ledger as they are shown, exported and counted again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from gateway.auth.virtual_key import is_key_id
from gateway.control.usage_query import UsageQuery
from gateway.control.usage_rows import HOUR_S, Figures, Group, dollars, shown_figures
from gateway.limits.values import MAX_NANOUSD, Dimensions
from gateway.metering.record import LedgerRecord
from gateway.store import account_wire
from gateway.store.usage import SHARDS
from gateway.store.usage_events import START, Event, EventSequence, LedgerReader

BATCH = 512
"""Events handled at a time: a few ms, in which nothing else runs."""

_CLOCKS_DIFFER_S = HOUR_S  # by less than this, between processes that serve and the store


class Counted(NamedTuple):
    """What an event adds to the counters of a moment (unix ms), or with a `sign` of -1 takes from them."""

    sign: int
    at_ms: int
    dimensions: Group
    figures: Figures


def counted(event: Event) -> list[Counted]:
    """What an event did to the counters: a correction also took back what it replaces.

    Raises `msgspec.DecodeError` for what is no record.
    """
    record = LedgerRecord.decode(event.record)
    # As they were counted: a model's id may hold what separates the parts of a name, and an upstream may
    # report any figure.
    dimensions = astuple(Dimensions.split(record.dimensions.joined()))
    figures = [min(max(0, figure), MAX_NANOUSD) for figure in astuple(record.counters())]
    moves = [Counted(1, round(record.ts * 1000), dimensions, figures)]
    if event.was is not None:
        was = account_wire.counted(event.was)
        moves.append(Counted(-1, was.admitted_ms, astuple(was.dimensions), list(astuple(was.counters))))
    return moves


def shown_event(event: Event) -> dict[str, Any]:
    """One event as it is shown and exported; `was` has the figures that a correction replaces.

    Raises `msgspec.DecodeError` for what is no record.
    """
    record: dict[str, Any] = msgspec.json.decode(event.record, type=dict[str, Any])
    ms, number = event.position
    shown = {
        "object": f"usage.{event.kind}",
        "id": f"{event.shard}-{ms}-{number}",
        **record,
        **dollars(record),
    }
    if event.was is not None:
        was = account_wire.counted(event.was)
        shown["was"] = {"state": was.state, **shown_figures(list(astuple(was.counters)))}
    return shown


async def events_of(ledger: LedgerReader, start: int, only: Mapping[str, frozenset[str]]) -> EventSequence:
    """The events that may be of requests that came at `start` (unix seconds) or later, up to now.

    An event is written when its request ends, perhaps days after it came, but not before: so there is a begin
    to read from, and no end but the present.
    """
    keys = only.get("key")
    shards = SHARDS if keys is None else sorted({key[:2] for key in keys if is_key_id(key)})
    begin = (max(0, start - _CLOCKS_DIFFER_S) * 1000, 0)
    return EventSequence(ledger, dict.fromkeys(shards, max(begin, START)), await ledger.ends(shards))


async def selected_rows(ledger: LedgerReader, query: UsageQuery) -> AsyncIterator[list[dict[str, Any]]]:
    """The events of requests that came in the period, as far as the filters let them in, by batches."""
    start, end = query.period.start, query.period.end
    sequence = await events_of(ledger, start, query.only)
    async for events in sequence.batches(BATCH):
        shown = [shown_event(event) for event in events]
        yield [
            row
            for row in shown
            if start <= row["ts"] < end
            and all((row.get(name) or "") in values for name, values in query.only.items())
        ]
