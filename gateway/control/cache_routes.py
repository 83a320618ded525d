"""`/admin/v1/cache`: what the response cache holds and saved, and its purge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.control.cache_service import CacheServer, CacheService, ServerState
from gateway.control.errors import NotFound
from gateway.control.insight_routes import current
from gateway.control.key_service import KeyService
from gateway.control.snapshot import SnapshotKeeper
from gateway.control.usage_query import period_of
from gateway.control.usage_rows import Figures, shown_figures
from gateway.control.usage_shown import parameters
from gateway.domain.principal import Principal
from gateway.telemetry.metrics import CACHE_RESULTS


class ShownCacheServer(BaseModel):
    """The cache's server. Figures are null where it does not tell, or is a cluster."""

    where: str = Field(description="Its address, without user and password.")
    state: ServerState = Field(description="`off`: the gateway's own server, which no alias needs now.")
    shares_ledger: bool = Field(description="The same server keeps the ledger.")
    keys: int | None = Field(description="Answers, and the little else that is kept beside them.")
    memory_bytes: int | None
    max_memory_bytes: int | None = Field(description="0 = no bound.")
    policy: str | None = Field(description="What it does when its memory is full.")
    evicted_keys: int | None


class CacheRow(BaseModel):
    """What the cache did for one alias; null stands for raw model ids."""

    object: Literal["cache.alias"] = "cache.alias"
    alias: str | None
    requests: int
    cache_hits: int = Field(description="Answered from the cache, or with another call's answer.")
    saved_nanousd: int
    saved_usd: str


class CacheResults(BaseModel):
    """Calls of this replica since it started, by how the cache took part: its `tunegate_cache_total`."""

    hit: int
    miss: int
    shared: int = Field(description="Got the answer of another call while that was on its way.")
    bypass: int = Field(description="Not to be answered from the cache.")
    error: int = Field(description="Times that the cache's server did not do what it was asked.")
    corrupt: int = Field(description="Answers that could not be read, and were dropped.")


class CacheStats(BaseModel):
    """The response cache. Rows are of all replicas, for whole hours: `from` and `to` say which."""

    object: Literal["cache"] = "cache"
    server: ShownCacheServer
    results: CacheResults
    start: int = Field(alias="from")
    end: int = Field(alias="to")
    data: list[CacheRow]


class Purge(BaseModel):
    """Whose answers go: an alias's, a key's (its team's, where it shares), of both; all without either."""

    model_config = ConfigDict(extra="forbid", strict=True)

    alias: str | None = None
    key: str | None = None


class Purged(BaseModel):
    """No answer from before is found again."""

    object: Literal["cache.purge"] = "cache.purge"
    alias: str | None
    key: str | None
    purged: Literal[True] = True


def cache_routes(
    service: CacheService,
    keeper: SnapshotKeeper,
    keys: KeyService,
    results: Callable[[], Mapping[str, int]],
    clock: Callable[[], float],
) -> APIRouter:
    """The routes over the cache.

    Args:
        results: calls of this replica by their `x-tunegate-cache`.
        clock: unix seconds.
    """
    router = APIRouter(prefix="/admin/v1/cache", tags=["cache"])

    @router.get("", openapi_extra={"parameters": parameters(groups=())[:2]})
    async def get_cache(request: Request) -> CacheStats:
        """How the cache's server is, and what the cache saved in a period, by alias."""
        found = await service.saved(period_of(request.query_params, clock()))
        counted = results()
        return CacheStats.model_validate(
            {
                "server": _shown_server(await service.server()),
                "results": {name: counted.get(name, 0) for name in CACHE_RESULTS},
                "from": found.period.start,
                "to": found.period.end,
                "data": [_row(group[0], figures) for group, figures in found.rows],
            }
        )

    @router.post("/purge")
    async def purge_cache(body: Purge) -> Purged:
        """Make answers unfindable, at once and for all replicas. Nothing is scanned; they expire unseen."""
        if body.alias is not None and body.alias not in current(keeper).aliases:
            raise NotFound(f"No alias is called `{body.alias}`.", "alias")
        await service.purge(body.alias, None if body.key is None else await _principal(keys, body.key))
        return Purged(alias=body.alias, key=body.key)

    return router


def _shown_server(server: CacheServer) -> ShownCacheServer:
    facts: dict[str, Any] = dict.fromkeys(ShownCacheServer.model_fields)
    if server.facts is not None:
        facts |= server.facts._asdict()
    facts |= {"where": server.where, "state": server.state, "shares_ledger": server.is_shared}
    return ShownCacheServer(**facts)


def _row(alias: str, figures: Figures) -> CacheRow:
    shown = shown_figures(figures)
    return CacheRow(alias=alias or None, **{name: shown[name] for name in _SHOWN})


async def _principal(keys: KeyService, key_id: str) -> Principal:
    try:
        return (await keys.get(key_id)).record.principal()
    except NotFound as error:
        raise NotFound(str(error), "key") from error


_SHOWN = ("requests", "cache_hits", "saved_nanousd", "saved_usd")
