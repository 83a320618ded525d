"""`/admin/v1/usage`: what was used, summed, one by one, and as a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from gateway.control.usage_cursor import (
    RowsCursor,
    events_cursor,
    positions_of,
    rows_cursor,
    rows_cursor_of,
)
from gateway.control.usage_export import CONTENT_TYPES, FORMATS, Format, encoded, encoder_of, format_of
from gateway.control.usage_query import Period, UsageQuery, usage_query, whole
from gateway.control.usage_records import selected_rows, shown_event
from gateway.control.usage_rows import Group, name_of
from gateway.control.usage_service import UsageService
from gateway.control.usage_shown import (
    EventList,
    UsageList,
    parameter,
    parameters,
    shown_row,
)
from gateway.domain.errors import InvalidRequest
from gateway.store.usage_events import EventSequence, LedgerReader

_MOST_ROWS = 1000


def usage_routes(service: UsageService, ledger: LedgerReader, clock: Callable[[], float]) -> APIRouter:
    """The routes over the counters and the ledger; `clock` in unix seconds."""
    router = APIRouter(prefix="/admin/v1/usage", tags=["usage"])

    @router.get("", response_model=UsageList, openapi_extra={"parameters": _LIST_PARAMETERS})
    async def list_usage(request: Request) -> Response:
        """Usage of a period by group, from counters: whole hours, however many events there were."""
        params = request.query_params
        limit = whole("limit", params.get("limit"), _MOST_ROWS, 1, _MOST_ROWS)
        query, after = _continued(usage_query(params, clock()), params.get("after"))
        usage = await service.usage(query)
        rows = [row for row in usage.rows if after is None or row[0] > after]
        page, has_more = rows[:limit], len(rows) > limit
        cursor = RowsCursor(usage.period.start, usage.period.end, query.groups, page[-1][0] if page else ())
        return _json(
            {
                "object": "list",
                "data": [shown_row(query, group, figures) for group, figures in page],
                "has_more": has_more,
                "next": rows_cursor(cursor) if has_more else None,
                "from": usage.period.start,
                "to": usage.period.end,
            }
        )

    @router.get("/events", response_model=EventList)
    async def list_events(
        limit: Annotated[int, Query(ge=1, le=1000)] = 20, after: str | None = None
    ) -> Response:
        """Records of the ledger, oldest first, as long as they are kept.

        Who goes on from `next` misses none and meets none twice, whenever that is.
        """
        sequence = EventSequence(ledger, positions_of(after))
        events = await sequence.take(limit)
        return _json(
            {
                "object": "list",
                "data": [shown_event(event) for event in events],
                "has_more": not await sequence.is_over(),
                "next": events_cursor(sequence.positions),
            }
        )

    @router.get("/export", response_class=StreamingResponse, openapi_extra={"parameters": _EXPORT_PARAMETERS})
    async def export_usage(request: Request) -> StreamingResponse:
        """Records of the ledger as a file: those of requests that came in the period, and corrections."""
        params = request.query_params
        form = format_of(params.get("format"))
        query = usage_query(params, clock())
        if query.groups:
            raise InvalidRequest("An export has every record: there is nothing to group.", "group_by")
        pieces = encoded(encoder_of(form), selected_rows(ledger, query))
        # The first piece is made before the answer begins, so that a store that is away is a 503.
        first = await anext(pieces, b"")
        return StreamingResponse(
            _with_first(first, pieces),
            media_type=CONTENT_TYPES[form],
            headers={"content-disposition": f'attachment; filename="{_file_name(query.period, form)}"'},
        )

    return router


def _continued(query: UsageQuery, after: str | None) -> tuple[UsageQuery, Group | None]:
    """The query that a cursor goes on with, and the group behind which it does."""
    if after is None:
        return query, None
    cursor = rows_cursor_of(after)
    if cursor.groups != query.groups:
        raise InvalidRequest("`after` is of an answer with another `group_by`.", "after")
    return replace(query, period=Period(cursor.start, cursor.end)), cursor.after


async def _with_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _file_name(period: Period, form: Format) -> str:
    return f"tunegate-usage-{name_of('day', period.start)}-{name_of('day', period.end)}.{form}"


def _json(answer: Any) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


_LIST_PARAMETERS = parameters(
    parameter("limit", {"type": "integer", "minimum": 1, "maximum": _MOST_ROWS, "default": _MOST_ROWS}, ""),
    parameter("after", {"type": "string"}, "The `next` of the page before."),
)
_EXPORT_PARAMETERS = parameters(
    parameter("format", {"type": "string", "enum": list(FORMATS), "default": "jsonl"}, ""), groups=()
)
