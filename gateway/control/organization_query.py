"""The official query string of usage and costs: buckets of a width, filters, groups, pages. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from starlette.datastructures import QueryParams

from gateway.control.usage_query import LATEST, array, one_of, whole, words
from gateway.control.usage_rows import DAY_S, HOUR_S, HOURS_KEPT_S, ceil, floor
from gateway.domain.errors import InvalidRequest

Kind = Literal["completions", "costs"]
Width = Literal["1m", "1h", "1d"]

_WIDTHS: Mapping[str, int] = {"1m": 60, "1h": HOUR_S, "1d": DAY_S}
_LIMITS: Mapping[tuple[Kind, str], tuple[int, int]] = {  # buckets of a page: by default, at most
    ("completions", "1m"): (60, 1440),
    ("completions", "1h"): (24, 168),
    ("completions", "1d"): (7, 31),
    ("costs", "1d"): (7, 180),
}
_FILTERS: Mapping[Kind, Mapping[str, str]] = {  # parameter -> what it means here
    "completions": {"project_ids": "team", "api_key_ids": "key", "models": "model"},
    "costs": {"project_ids": "team", "api_key_ids": "key", "line_items": "model"},
}
GROUPS: Mapping[Kind, Mapping[str, str | None]] = {  # group -> the same; None: no usage has it here
    "completions": {
        "project_id": "team",
        "user_id": None,
        "api_key_id": "key",
        "model": "model",
        "batch": None,
        "service_tier": None,
        "api_source": None,
    },
    "costs": {
        "project_id": "team",
        "user_id": None,
        "line_item": "model",
        "api_key_id": "key",
        "api_source": None,
    },
}
_PAGE = re.compile(r"page_([0-9]{1,12})_([0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class OrganizationQuery:
    """Buckets from `start` on, `count` of them, each of `width_s`; unix seconds.

    Args:
        groups: as they are called in the official API.
        only: values that count, by our dimension.
        is_void: filters for what no usage here has, so every bucket is empty.
        next_page: what to ask for next; None where this is the last page.
    """

    kind: Kind
    width: Width
    width_s: int
    start: int
    count: int
    groups: tuple[str, ...] = ()
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)
    is_void: bool = False
    next_page: str | None = None

    @property
    def end(self) -> int:
        """Where the last bucket ends."""
        return self.start + self.count * self.width_s

    @property
    def dimensions(self) -> list[str]:
        """The groups that usage here is counted by, under our names."""
        return [name for group in self.groups if (name := GROUPS[self.kind][group]) is not None]


def organization_query(
    params: QueryParams, kind: Kind, now: float, *, events_kept_s: float
) -> OrganizationQuery:
    """Read the query string. Buckets are whole: `start_time` is moved back to the begin of its bucket.

    Args:
        now: unix seconds; no bucket begins later.
        events_kept_s: how far back minutes reach, which are read from the events.

    Raises `InvalidRequest`.
    """
    width = _width(params, kind)
    width_s = _WIDTHS[width]
    start = whole("start_time", params.get("start_time"), None, 0, LATEST)
    end = whole("end_time", params.get("end_time"), LATEST, 0, LATEST)
    if end <= start:
        raise InvalidRequest("`end_time` must be after `start_time`.", "end_time")
    start, end = floor(start, width_s), min(ceil(end, width_s), ceil(now + 1, width_s))
    default, most = _LIMITS[kind, width]
    limit = whole("limit", params.get("limit"), default, 1, most)
    if params.get("page"):
        start, end = _page(params["page"], width_s, end)
    kept_s = {"1m": events_kept_s, "1h": HOURS_KEPT_S, "1d": now}[width]
    if start < now - kept_s - width_s:
        days = int(kept_s // DAY_S)
        raise InvalidRequest(f"`bucket_width={width}` reaches back {days} days here.", "start_time")
    count = max(0, min(limit, (end - start) // width_s))
    following = start + count * width_s
    only = {ours: frozenset(array(params, name)) for name, ours in _FILTERS[kind].items()}
    return OrganizationQuery(
        kind=kind,
        width=width,
        width_s=width_s,
        start=start,
        count=count,
        groups=words("group_by", params, tuple(GROUPS[kind])),
        only={name: values for name, values in only.items() if values},
        is_void=bool(array(params, "user_ids")) or _flag(params, "batch") is True,
        next_page=f"page_{following}_{end}" if following < end else None,
    )


def _width(params: QueryParams, kind: Kind) -> Width:
    known: tuple[Width, ...] = ("1d",) if kind == "costs" else ("1m", "1h", "1d")
    given = params.get("bucket_width") or "1d"
    one_of("bucket_width", [given], known)
    return next(width for width in known if width == given)


def _page(text: str, width_s: int, latest: int) -> tuple[int, int]:
    """Where a page begins, and where the last one ends; no page ends later than a query of now would."""
    found = _PAGE.fullmatch(text)
    start, end = (int(found[1]), int(found[2])) if found else (1, 0)
    if not start <= end <= latest or start % width_s or end % width_s:
        raise InvalidRequest("`page` must be the `next_page` of an earlier answer to the same query.", "page")
    return start, end


def _flag(params: QueryParams, name: str) -> bool | None:
    given = params.get(name)
    if not given:
        return None
    one_of(name, [given.lower()], ("true", "false"))
    return given.lower() == "true"
