"""`POST /admin/v1/upstreams/{name}/probe`: what an endpoint does not take."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from gateway.control.probe.findings import ShownProbe
from gateway.control.probe.service import Probing


class ProbeWish(BaseModel):
    """What to examine."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(default=None, min_length=1, description="Model to ask; null = one it serves.")
    dry_run: bool = Field(default=False, description="Make no call: only say what it would cost at most.")


def probe_routes(probing: Probing) -> APIRouter:
    """The route over the probes."""
    router = APIRouter(prefix="/admin/v1", tags=["insight"])

    @router.post("/upstreams/{name}/probe")
    async def probe_upstream(name: str, wish: Annotated[ProbeWish | None, Body()] = None) -> ShownProbe:
        """Examine an upstream by some thirty short calls, which its account pays for.

        `settings` are the values that it needs, `yaml` the same as lines of the configuration. Nothing is
        changed here. The answer takes as long as the calls: seconds, or minutes where a model is cold.
        """
        wish = wish or ProbeWish()
        return await probing.probe(name, wish.model, dry_run=wish.dry_run)

    return router
