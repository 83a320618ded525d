"""Default deny: without the admin key every route of the control plane is closed, but for a list of two."""

import re
from collections.abc import Iterable, Iterator

import httpx2
from fastapi.routing import APIRoute

from tests.integration.control.running import RunningControl

OPEN_ROUTES = {"/healthz", "/metrics"}
ODD = (
    *("/", "/admin", "/admin/v1", "/admin/v1/", "/nowhere", "/docs", "/redoc", "/openapi.json", "/console/"),
    *(
        "//healthz",
        "/healthz/",
        "/healthz/x",
        "/HEALTHZ",
        "/metrics/",
        "/metrics/x",
        "//metrics",
        "/v1/models",
    ),
    *("/healthz%00", "/healthz%2f", "/healthz;x", "/metrics%2f..%2fadmin"),
)


def flat(routes: Iterable[object]) -> Iterator[APIRoute]:
    for route in routes:
        if (router := getattr(route, "original_router", None)) is not None:
            yield from flat(router.routes)
        else:
            assert isinstance(route, APIRoute), route  # a mount or a websocket would need a look of its own
            yield route


def every_route(control: RunningControl) -> Iterator[tuple[str, str]]:
    for route in flat(control.plane.api.routes):
        path = re.sub(r"{[^}]*}", "x", route.path)
        if path not in OPEN_ROUTES:
            yield from ((method, path) for method in sorted({*(route.methods or ()), "OPTIONS", "TRACE"}))
    yield from ((method, path) for path in ODD for method in ("GET", "POST", "DELETE"))


async def test_without_the_admin_key_all_but_two_routes_are_closed(control: RunningControl) -> None:
    routes = list(every_route(control))
    assert len({path for _, path in routes}) > 30
    async with httpx2.AsyncClient(base_url=control.url, trust_env=False, verify=False) as stranger:
        for method, path in routes:
            url = httpx2.URL(control.url).copy_with(raw_path=path.encode())
            answer = await stranger.request(method, url)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["x-content-type-options"] == "nosniff"
        for path in OPEN_ROUTES:
            assert (await stranger.get(path)).status_code == 200
