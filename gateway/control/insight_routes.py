"""`/admin/v1/explain` and `/admin/v1/upstreams`: what would happen to a call, and who could serve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from gateway.control.errors import NotFound
from gateway.control.key_service import KeyService
from gateway.control.link import WorkerLink
from gateway.control.snapshot import Snapshot, SnapshotKeeper
from gateway.control.upstreams import ShownUpstream, health_of, reports_of, shown_upstreams
from gateway.domain.errors import ModelNotAllowed
from gateway.domain.principal import Principal
from gateway.routing.explain import explain
from gateway.routing.health import UpstreamReport
from gateway.store.errors import StoreAway

_ANYONE = Principal(key_id="", name="anyone", may_pin=True)


class Price(BaseModel):
    """US dollars per million tokens."""

    input: float
    cached_input: float | None
    output: float | None


class ShownAttempt(BaseModel):
    """An upstream that would be tried, in its turn."""

    n: int
    upstream: str
    model: str
    rewrite: str | None
    price_usd_per_million: Price | None
    shutdown_date: str | None


class ShownLeftOut(BaseModel):
    """An upstream that would not be tried, and why."""

    upstream: str
    model: str
    reason: str
    detail: str


class Explanation(BaseModel):
    """What would happen to a call now."""

    object: Literal["explain"] = "explain"
    requested: str
    alias: str | None
    release: str | None
    attempts: list[ShownAttempt]
    left_out: list[ShownLeftOut]


class UpstreamList(BaseModel):
    """Upstreams in file order. `next` is the name to give as `after` for the next page."""

    object: Literal["list"] = "list"
    data: list[ShownUpstream]
    has_more: bool
    next: str | None


def insight_routes(
    keeper: SnapshotKeeper, link: WorkerLink, keys: KeyService, monotonic: Callable[[], float]
) -> APIRouter:
    """The routes over the current snapshot and what the workers report; `monotonic` in seconds."""
    router = APIRouter(prefix="/admin/v1", tags=["insight"])

    def reports() -> Mapping[str, UpstreamReport]:
        return reports_of(worker.health for worker in link.workers)

    @router.get("/explain")
    async def explain_model(
        model: Annotated[str, Query(min_length=1)], key: str | None = None
    ) -> Explanation:
        """What a call of `model` would do now, by the holder of the key `key` (its id) or by anyone.

        Where weights decide, the draw falls on the first.
        """
        principal = _ANYONE if key is None else await _principal(keys, key)
        now = monotonic()
        health = health_of(reports(), now)
        snapshot = current(keeper)
        catalogue, prices = snapshot.catalogue, snapshot.prices
        try:
            found = explain(catalogue, model, principal, health, now, prices)
        except ModelNotAllowed as refused:
            found = _not_allowed(explain(catalogue, model, _ANYONE, health, now, prices), str(refused))
        return Explanation(**found)

    @router.get("/upstreams")
    async def list_upstreams(
        limit: Annotated[int, Query(ge=1, le=1000)] = 20, after: str | None = None
    ) -> UpstreamList:
        """Every upstream, as this replica sees it now."""
        found = shown_upstreams(current(keeper), reports())
        names = [upstream.name for upstream in found]
        start = names.index(after) + 1 if after in names else 0
        page = found[start : start + limit]
        has_more = start + limit < len(found)
        return UpstreamList(data=page, has_more=has_more, next=page[-1].name if has_more else None)

    return router


def current(keeper: SnapshotKeeper) -> Snapshot:
    """The current snapshot. Raises `StoreAway` before the store was seen once."""
    if keeper.current is None:
        raise StoreAway("the store has not been seen yet")
    return keeper.current


async def _principal(keys: KeyService, key_id: str) -> Principal:
    try:
        return (await keys.get(key_id)).record.principal()
    except NotFound as error:
        raise NotFound(str(error), "key") from error


def _not_allowed(found: dict[str, Any], detail: str) -> dict[str, Any]:
    """An explanation for a key that may not use the name: nothing would be tried."""
    refused = [
        {"upstream": each["upstream"], "model": each["model"], "reason": "not_allowed", "detail": detail}
        for each in found["attempts"]
    ]
    return {**found, "attempts": [], "left_out": [*refused, *found["left_out"]]}
