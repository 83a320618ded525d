"""What callers of the admin API are shown of usage."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.control.usage_query import GROUPS, UsageQuery
from gateway.control.usage_rows import DIMENSIONS, Figures, Group, seconds_of, shown_figures


class UsageRow(BaseModel):
    """Usage of one group. Of what was grouped by the value is there, null where a request had none."""

    model_config = ConfigDict(extra="allow")

    object: Literal["usage"] = "usage"
    starts_at: int = Field(description="Begin of the day or hour; only where grouped by one.")
    requests: int
    errors: int
    cache_hits: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_nanousd: int | None = Field(description="Of the priced requests; null where none of them is.")
    cost_usd: str | None
    saved_nanousd: int = Field(description="What the cache saved.")
    saved_usd: str
    unpriced_requests: int = Field(description="Requests whose price is not known.")


class UsageList(BaseModel):
    """Rows in the order of their groups, for a period of whole hours: `from` and `to` say which.

    `next` is what to give as `after` for the next page.
    """

    object: Literal["list"] = "list"
    data: list[UsageRow]
    has_more: bool
    next: str | None
    start: int = Field(alias="from")
    end: int = Field(alias="to")


class UsageEvent(BaseModel):
    """A record of the ledger: one request, or with `usage.correction` a better figure of an earlier one."""

    model_config = ConfigDict(extra="allow")

    object: Literal["usage.event", "usage.correction"]
    id: str
    request_id: str
    ts: float
    key: str
    state: Literal["exact", "estimated", "released", "orphaned"]
    cost_nanousd: int | None
    cost_usd: str | None


class EventList(BaseModel):
    """Events, oldest first. `next` is what to give as `after`, now or once there are more."""

    object: Literal["list"] = "list"
    data: list[UsageEvent]
    has_more: bool
    next: str


def shown_row(query: UsageQuery, group: Group, figures: Figures) -> dict[str, Any]:
    """One row of an answer."""
    row: dict[str, Any] = {"object": "usage"}
    for name, value in zip(query.groups, group, strict=True):
        row[name] = value if value or name not in DIMENSIONS else None
    for name in ("hour", "day"):
        if name in query.groups:
            row["starts_at"] = seconds_of(row[name])
            break
    return {**row, **shown_figures(figures)}


def parameters(*extra: dict[str, Any], groups: tuple[str, ...] = GROUPS) -> list[dict[str, Any]]:
    """The description of the query string that `usage_query` reads, and more."""
    filters = [_array(name, f"Only usage of this {name}; several may be given.", None) for name in DIMENSIONS]
    times = [
        parameter("from", {"type": "string"}, "Unix seconds, or a date or time of ISO 8601; inclusive."),
        parameter("to", {"type": "string"}, "The same, exclusive. By default the last 30 days, with today."),
    ]
    grouping = [_array("group_by", "Repeated or joined by commas.", groups)] if groups else []
    return [*times, *grouping, *filters, *extra]


def parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    """The description of one parameter of a query string."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _array(name: str, description: str, values: tuple[str, ...] | None) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "string"} if values is None else {"type": "string", "enum": list(values)}
    return parameter(name, {"type": "array", "items": item}, description)
