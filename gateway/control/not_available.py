"""Routes that the contract of the admin API names and this version does not have: one table.

Whoever builds a part deletes its rows.
"""

from __future__ import annotations

from fastapi import APIRouter

from gateway.domain.errors import NotAvailableYet

WORDS = "not available in this version"

_EVERY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE"]

ROUTES: tuple[tuple[str, str], ...] = (
    ("POST", "/admin/v1/aliases/{name:path}/canary"),
    ("POST", "/admin/v1/aliases/{name:path}/shadow"),
    ("POST", "/admin/v1/aliases/{name:path}/promote"),
    ("POST", "/admin/v1/aliases/{name:path}/abort"),
    ("*", "/admin/v1/jobs{rest:path}"),
    ("*", "/admin/v1/comparisons{rest:path}"),
)


def unavailable_routes() -> APIRouter:
    """Routes that say so, with 404, instead of pretending never to have been named."""
    router = APIRouter(include_in_schema=False)

    async def say_so() -> None:
        raise NotAvailableYet(f"This route is {WORDS}.")

    for method, path in ROUTES:
        router.add_api_route(path, say_so, methods=_EVERY_METHOD if method == "*" else [method])
    return router
