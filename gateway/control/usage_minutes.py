"""Usage by the minute. There are no counters so fine, so the events themselves are added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.control.usage_records import BATCH, counted, events_of
from gateway.control.usage_rows import DIMENSIONS, Figures, Group, no_usage
from gateway.store.usage_events import LedgerReader

_MINUTE_MS = 60_000


async def minute_sums(
    ledger: LedgerReader,
    start: int,
    end: int,
    dimensions: Sequence[str],
    only: Mapping[str, frozenset[str]],
) -> dict[Group, Figures]:
    """Sums by minute and dimensions. The first part of a group is when its minute begins, unix seconds.

    Args:
        start, end: unix seconds, whole minutes.
        only: the values that count, by dimension.
    """
    places = [DIMENSIONS.index(name) for name in dimensions]
    wanted = [(DIMENSIONS.index(name), values) for name, values in only.items()]
    sums: dict[Group, Figures] = {}
    sequence = await events_of(ledger, start, only)
    async for events in sequence.batches(BATCH):
        for move in (move for event in events for move in counted(event)):
            is_inside = start * 1000 <= move.at_ms < end * 1000
            if is_inside and all(move.dimensions[place] in values for place, values in wanted):
                minute = str(move.at_ms // _MINUTE_MS * 60)
                group = (minute, *(move.dimensions[place] for place in places))
                figures = sums.setdefault(group, no_usage())
                figures[:] = (
                    figure + move.sign * more for figure, more in zip(figures, move.figures, strict=True)
                )
    return sums
