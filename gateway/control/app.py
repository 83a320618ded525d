"""The HTTP surface of the control plane, from its services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header
from fastapi.responses import Response
from starlette.types import ASGIApp

from gateway import __version__
from gateway.config import Settings
from gateway.control import errors
from gateway.control.admin_key import AdminAuth
from gateway.control.alias_routes import alias_routes
from gateway.control.alias_service import AliasService
from gateway.control.cache_routes import cache_routes
from gateway.control.cache_service import CacheService
from gateway.control.config_routes import config_routes
from gateway.control.frame import Frame
from gateway.control.insight_routes import insight_routes
from gateway.control.key_routes import key_routes
from gateway.control.key_service import KeyService
from gateway.control.key_view import KeyView
from gateway.control.link import WorkerLink
from gateway.control.not_available import unavailable_routes
from gateway.control.probe.service import Probing
from gateway.control.probe_routes import probe_routes
from gateway.control.reload import ConfigReloader
from gateway.control.snapshot import SnapshotKeeper
from gateway.control.sunset_routes import sunset_routes
from gateway.limits.values import Bounds


def create_app(
    *,
    keys: KeyService,
    aliases: AliasService,
    keeper: SnapshotKeeper,
    link: WorkerLink,
    reloader: ConfigReloader,
    probing: Probing,
    render_metrics: Callable[[str], tuple[bytes, str]],
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    usage: Sequence[APIRouter],
    cache: CacheService,
    cache_results: Callable[[], Mapping[str, int]],
) -> FastAPI:
    """Every route, answering errors in the official shape; `frame` puts the admin key in front.

    Args:
        render_metrics: body and content type of `/metrics`, for a request's `accept`.
        clock: unix seconds.
        monotonic: monotonic seconds.
        usage: the routes of usage and the ledger.
        cache: the response cache.
        cache_results: calls of this replica by their `x-tunegate-cache`.
    """
    app = FastAPI(
        title="Tunegate control plane",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    errors.install(app)
    app.include_router(open_routes(render_metrics))
    app.include_router(
        key_routes(keys, KeyView(keys, lambda: _default_limits(keeper.settings), clock), clock)
    )
    for router in usage:
        app.include_router(router)
    app.include_router(unavailable_routes())
    app.include_router(alias_routes(aliases))
    app.include_router(insight_routes(keeper, link, keys, monotonic))
    app.include_router(probe_routes(probing))
    app.include_router(sunset_routes(keeper, aliases, clock))
    app.include_router(config_routes(keeper, reloader))
    app.include_router(cache_routes(cache, keeper, keys, cache_results, clock))
    return app


def _default_limits(settings: Settings) -> Bounds:
    return Bounds.of(settings.limits.default.model_dump(), Bounds())


def framed(app: ASGIApp, auth: AdminAuth, *, metrics_auth: bool) -> ASGIApp:
    """The app behind the admin key, but for `/healthz`, and `/metrics` where it is open."""
    return Frame(app, auth, ["/healthz"] if metrics_auth else ["/healthz", "/metrics"])


def open_routes(render_metrics: Callable[[str], tuple[bytes, str]]) -> APIRouter:
    """What probes and scrapers ask for."""
    router = APIRouter(tags=["process"])

    @router.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
    async def is_alive() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/metrics", response_class=Response, include_in_schema=False)
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        body, content_type = render_metrics(accept)
        return Response(body, media_type=content_type)

    return router
