"""`/admin/v1/sunset`: what is ahead of every name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from gateway.catalog.sunset import day_of
from gateway.control.alias_service import AliasService
from gateway.control.errors import NotFound
from gateway.control.insight_routes import current
from gateway.control.snapshot import Snapshot, SnapshotKeeper
from gateway.control.sunset_keeping import due_move, was_put_back
from gateway.control.sunset_outlook import ShownSunset, alias_outlook, outlooks


class SunsetList(BaseModel):
    """Aliases by name, then listed models with a known end. `next` is the name to give as `after`."""

    object: Literal["list"] = "list"
    today: str
    data: list[ShownSunset]
    has_more: bool
    next: str | None


def sunset_routes(keeper: SnapshotKeeper, aliases: AliasService, clock: Callable[[], float]) -> APIRouter:
    """The route over the current snapshot and the histories of aliases; `clock` in unix seconds."""
    router = APIRouter(prefix="/admin/v1", tags=["insight"])

    @router.get("/sunset")
    async def list_sunsets(
        limit: Annotated[int, Query(ge=1, le=1000)] = 20,
        after: str | None = None,
        within: Annotated[int | None, Query(ge=0, le=1_000_000)] = None,
    ) -> SunsetList:
        """What ends when, and what serves then.

        `within` leaves out names none of whose targets ends within that many days, and that nothing ends for.
        """
        snapshot, today = current(keeper), day_of(clock())
        found = [each for each in outlooks(snapshot, today) if within is None or _ends_within(each, within)]
        names = [each.name for each in found]
        start = names.index(after) + 1 if after in names else 0
        page = [await _with_history(aliases, snapshot, each, today) for each in found[start : start + limit]]
        has_more = start + limit < len(found)
        return SunsetList(
            today=today.isoformat(), data=page, has_more=has_more, next=page[-1].name if has_more else None
        )

    return router


def _ends_within(outlook: ShownSunset, days: int) -> bool:
    ahead = [outlook.dark_in_days, *(target.days for target in outlook.targets)]
    return any(each is not None and each <= days for each in ahead)


async def _with_history(
    aliases: AliasService, snapshot: Snapshot, outlook: ShownSunset, today: date
) -> ShownSunset:
    """The same; where a move is due, its history tells whether somebody took it back."""
    moved = due_move(outlook, today.isoformat())
    if moved is None:
        return outlook
    try:
        revisions = await aliases.revisions(outlook.name)
    except NotFound:  # deleted a moment ago
        return outlook
    if len(revisions) != snapshot.aliases[outlook.name].revision or not was_put_back(revisions, moved):
        return outlook
    return alias_outlook(snapshot, outlook.name, today, is_put_back=True)
