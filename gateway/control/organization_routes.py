"""`/v1/organization/usage/completions` and `/v1/organization/costs`, in the shapes of the official API.

So whatever reads the usage of an OpenAI organization reads that of this gateway: an API key is a virtual
key (by its id), a project is a team, a line item of the costs is a model. Users, batches, service tiers and
the sources of calls are not counted here: grouped by them, usage has null, and `batch` is false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from gateway.control.organization_query import GROUPS, Kind, OrganizationQuery, organization_query
from gateway.control.usage_minutes import minute_sums
from gateway.control.usage_rows import DAY_S, Figures, Group, shown_figures, start_of
from gateway.control.usage_service import Stretch, UsageService
from gateway.control.usage_shown import parameter
from gateway.store.usage_events import LedgerReader


class OfficialResult(BaseModel):
    """A result in the official shape. What was not grouped by is null."""

    model_config = ConfigDict(extra="allow")

    object: Literal["organization.usage.completions.result", "organization.costs.result"]


class OfficialBucket(BaseModel):
    """A time and its results, none where nothing was used."""

    object: Literal["bucket"]
    start_time: int
    end_time: int
    results: list[OfficialResult]


class OfficialPage(BaseModel):
    """Buckets, the oldest first. `next_page` is what to give as `page`."""

    object: Literal["page"]
    data: list[OfficialBucket]
    has_more: bool
    next_page: str | None


def organization_routes(
    service: UsageService,
    ledger: LedgerReader,
    clock: Callable[[], float],
    retention_days: Callable[[], int],
) -> APIRouter:
    """The routes over the counters, and for minutes over the events.

    Args:
        clock: unix seconds.
        retention_days: how long events are kept.
    """
    router = APIRouter(prefix="/v1/organization", tags=["organization"])

    async def page(request: Request, kind: Kind) -> Response:
        kept_s = retention_days() * DAY_S
        query = organization_query(request.query_params, kind, clock(), events_kept_s=kept_s)
        sums: Mapping[Group, Figures] = {}
        if query.count and not query.is_void:
            if query.width == "1m":
                sums = await minute_sums(ledger, query.start, query.end, query.dimensions, query.only)
            else:
                stretch = Stretch("day" if query.width == "1d" else "hour", query.start, query.end)
                sums = await service.sums(
                    [stretch], query.dimensions, query.only, lambda bucket: (str(start_of(bucket)),)
                )
        answer = {
            "object": "page",
            "data": list(_buckets(query, sums)),
            "has_more": query.next_page is not None,
            "next_page": query.next_page,
        }
        return Response(msgspec.json.encode(answer), media_type="application/json")

    @router.get(
        "/usage/completions", response_model=OfficialPage, openapi_extra={"parameters": _USAGE_PARAMETERS}
    )
    async def get_completions_usage(request: Request) -> Response:
        """Tokens and requests, of all routes that call a model. Cache writes count as uncached input."""
        return await page(request, "completions")

    @router.get("/costs", response_model=OfficialPage, openapi_extra={"parameters": _COSTS_PARAMETERS})
    async def get_costs(request: Request) -> Response:
        """Costs of the priced requests; the amount is null where none of them has a known price."""
        return await page(request, "costs")

    return router


def _buckets(query: OrganizationQuery, sums: Mapping[Group, Figures]) -> Iterator[dict[str, Any]]:
    """The buckets of a page. The first part of a group in `sums` is when its bucket begins."""
    by_start: dict[str, list[tuple[Group, Figures]]] = {}
    for (begin, *values), figures in sorted(sums.items()):
        by_start.setdefault(begin, []).append((tuple(values), figures))
    result = _costs_result if query.kind == "costs" else _completions_result
    for number in range(query.count):
        start = query.start + number * query.width_s
        yield {
            "object": "bucket",
            "start_time": start,
            "end_time": start + query.width_s,
            "results": [
                {**result(figures), **_grouping(query, values)}
                for values, figures in by_start.get(str(start), [])
            ],
        }


def _grouping(query: OrganizationQuery, values: Group) -> dict[str, Any]:
    """What the result stands for; null where it was not grouped by."""
    known = dict(zip(query.dimensions, values, strict=True))
    shown: dict[str, Any] = {}
    for group, dimension in GROUPS[query.kind].items():
        is_asked_for = group in query.groups
        shown[group] = (known[dimension] or None) if is_asked_for and dimension is not None else None
        if is_asked_for and group == "batch":
            shown[group] = False
    return shown


def _completions_result(figures: Figures) -> dict[str, Any]:
    shown = shown_figures(figures)
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": shown["prompt_tokens"],
        "input_cached_tokens": shown["cached_tokens"],
        "input_cache_write_tokens": None,
        "input_uncached_tokens": shown["prompt_tokens"] - shown["cached_tokens"],
        "output_tokens": shown["completion_tokens"],
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": shown["requests"],
    }


def _costs_result(figures: Figures) -> dict[str, Any]:
    nanousd = shown_figures(figures)["cost_nanousd"]
    return {
        "object": "organization.costs.result",
        "amount": {"value": None if nanousd is None else nanousd / 1e9, "currency": "usd"},
        "quantity": None,
        "quantity_unit": None,
    }


_TEXTS = {"type": "array", "items": {"type": "string"}}


def _parameters(kind: Kind, widths: list[str], filters: list[str]) -> list[dict[str, Any]]:
    """The official parameters. Arrays are repeated or bracketed (`models[]`)."""
    start = parameter("start_time", {"type": "integer"}, "Unix seconds, inclusive.")
    groups = {"type": "array", "items": {"type": "string", "enum": list(GROUPS[kind])}}
    return [
        {**start, "required": True},
        parameter("end_time", {"type": "integer"}, "Unix seconds, exclusive. By default now."),
        parameter("bucket_width", {"type": "string", "enum": widths, "default": "1d"}, "In UTC."),
        parameter("group_by", groups, "Repeated, with brackets, or joined by commas."),
        *(parameter(name, _TEXTS, "Only usage of these.") for name in filters),
        parameter("limit", {"type": "integer"}, "Buckets of a page."),
        parameter("page", {"type": "string"}, "The `next_page` of the page before."),
    ]


_USAGE_PARAMETERS = [
    *_parameters("completions", ["1m", "1h", "1d"], ["project_ids", "user_ids", "api_key_ids", "models"]),
    parameter("batch", {"type": "boolean"}, "True: only batches, of which there are none."),
]
_COSTS_PARAMETERS = _parameters("costs", ["1d"], ["project_ids", "user_ids", "api_key_ids", "line_items"])
