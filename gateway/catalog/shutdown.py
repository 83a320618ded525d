"""The day a model ends at an upstream, and who says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from typing import Any, Literal

from gateway.catalog.retirements import Retirement


@dataclass(frozen=True, slots=True)
class Shutdown:
    """A known end.

    Args:
        date: "YYYY-MM-DD"; on this day the model is still asked, from the next on it is not.
        known_from: `shutdown_dates` of the configuration, the upstream's own list, or the bundled table.
        source: for a row of the table, where its date stands and when that was read.
    """

    date: str
    known_from: Literal["config", "upstream", "table"]
    source: str | None = None


def shutdown_of(
    model: str,
    configured: Mapping[str, str | None],
    listed: Mapping[str, Any],
    table: Sequence[Retirement],
) -> Shutdown | None:
    """When a model ends, or None where nobody knows or the configuration says never.

    Args:
        model: its id.
        configured: `shutdown_dates`: the id itself counts first, then the first glob that fits.
        listed: the model object of the upstream's own list. One without a date says nothing: lists of relays,
            and perhaps the official one for `ft:` ids, leave it out.
        table: rows that hold at this upstream; the first that fits counts.
    """
    known, day = _configured(model, configured)
    if known:
        return None if day is None else Shutdown(day, "config")
    day = listed.get("shutdown_date")
    if isinstance(day, str) and is_day(day):
        return Shutdown(day, "upstream")
    row = next((row for row in table if row.covers(model)), None)
    return None if row is None else Shutdown(row.date, "table", f"{row.source} (read {row.read})")


def is_day(text: str) -> bool:
    """True for a day of the calendar as YYYY-MM-DD: days are compared as text."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _configured(model: str, configured: Mapping[str, str | None]) -> tuple[bool, str | None]:
    if model in configured:
        return True, configured[model]
    for glob, day in configured.items():
        if fnmatchcase(model, glob):
            return True, day
    return False, None
