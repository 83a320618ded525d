"""What a caller asks of usage: a period, what to group by, what to leave out. Read from a query string.

Arrays are repeated (`models=a&models=b`) or bracketed (`models[]=a`). Those of a closed set of words may be
joined by commas too; names may not, as a name may have commas of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time

from starlette.datastructures import QueryParams

from gateway.control.usage_rows import DAY_S, DIMENSIONS
from gateway.domain.errors import InvalidRequest

DEFAULT_DAYS = 30
LATEST = 253402300799
"""The last second of the year 9999."""

GROUPS = (*DIMENSIONS, "day", "hour")
"""What rows can be grouped by."""


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` up to but without `end`, unix seconds."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Usage of a period, summed by `groups`; `only` has the values that count, by dimension."""

    period: Period
    groups: tuple[str, ...] = ()
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)


def usage_query(params: QueryParams, now: float) -> UsageQuery:
    """Read `from`, `to`, `group_by` and the filters, named as the dimensions.

    Raises `InvalidRequest`.
    """
    groups = words("group_by", params, GROUPS)
    only = {name: frozenset(array(params, name)) for name in DIMENSIONS if array(params, name)}
    return UsageQuery(period_of(params, now), groups, only)


def period_of(params: QueryParams, now: float) -> Period:
    """[from, to); by default the last 30 days, today included. Raises `InvalidRequest`."""
    given_end = instant("to", params.get("to"))
    given_start = instant("from", params.get("from"))
    end = given_end if given_end is not None else math.floor(now / DAY_S) * DAY_S + DAY_S
    start = given_start if given_start is not None else max(0, end - DEFAULT_DAYS * DAY_S)
    if start >= end:
        raise InvalidRequest("`from` must be before `to`.", "from")
    return Period(start, end)


def instant(name: str, text: str | None) -> int | None:
    """Unix seconds of a moment given as such, or as a date or time of ISO 8601 (UTC where it names no zone).

    None where nothing is given. Raises `InvalidRequest`.
    """
    if text is None or not text.strip():
        return None
    text = text.strip()
    try:
        seconds = math.floor(float(text)) if _is_number(text) else _iso(text)
    except (ValueError, OverflowError):
        seconds = -1
    if not 0 <= seconds <= LATEST:
        raise InvalidRequest(
            f"`{name}` is neither unix seconds nor a date such as 2026-01-31 or 2026-01-31T12:00:00Z.", name
        )
    return seconds


def whole(name: str, text: str | None, default: int | None, least: int, most: int) -> int:
    """A whole number between two others, both allowed. Raises `InvalidRequest`; where absent, `default`."""
    if text is None or not text.strip():
        if default is not None:
            return default
        raise InvalidRequest(f"`{name}` is required.", name)
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18 or not least <= int(digits) <= most:
        raise InvalidRequest(f"`{name}` must be a whole number from {least} to {most}.", name)
    return int(digits)


def array(params: QueryParams, name: str) -> tuple[str, ...]:
    """The values of an array, each once, in the order given."""
    given = [*params.getlist(name), *params.getlist(f"{name}[]")]
    return tuple(dict.fromkeys(value for value in given if value))


def words(name: str, params: QueryParams, known: Sequence[str]) -> tuple[str, ...]:
    """The values of an array, all of which must be known. Raises `InvalidRequest`."""
    values = (value.strip() for text in array(params, name) for value in text.split(","))
    return one_of(name, tuple(dict.fromkeys(value for value in values if value)), known)


def one_of(name: str, values: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The values, all of which must be known. Raises `InvalidRequest`."""
    for value in values:
        if value not in known:
            raise InvalidRequest(f'`{name}`: unknown value "{value}"; known: {", ".join(known)}.', name)
    return tuple(values)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def _iso(text: str) -> int:
    try:
        moment = datetime.combine(date.fromisoformat(text), time())
    except ValueError:
        # In a query string a bare "+" is a space: 12:00:00+02:00 arrives as 12:00:00 02:00.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return math.floor(moment.timestamp())
