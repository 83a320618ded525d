"""What is known of each upstream: from the configuration, the catalogue, and what the workers report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from pydantic import BaseModel

from gateway.config import UpstreamSettings
from gateway.control.snapshot import Snapshot
from gateway.routing.health import Health


class UpstreamReport(msgspec.Struct):
    """What one worker says of one upstream; unknown fields are passed over."""

    in_flight: int = 0
    set_aside: list[int] = []


class ShownCredential(BaseModel):
    """A credential by its place in `api_keys`, from 1, empty ones not counted."""

    n: int
    state: Literal["ready", "set_aside"]


class ShownModel(BaseModel):
    """A model known by name at this upstream."""

    id: str
    shutdown_date: str | None
    state: Literal["listed", "discovered"]


class ShownUpstream(BaseModel):
    """An upstream as this replica sees it."""

    object: Literal["upstream"] = "upstream"
    name: str
    kind: str
    base_url: str | None
    state: Literal["ready", "disabled", "credential_set_aside"]
    credentials: list[ShownCredential]
    breaker: Literal["closed"] = "closed"
    models: list[ShownModel]
    in_flight: int


def reports_of(healths: Iterable[Mapping[str, Any]]) -> dict[str, UpstreamReport]:
    """The workers' reports as one: calls in flight add up; a credential rests where any worker says so."""
    merged: dict[str, UpstreamReport] = {}
    for health in healths:
        for name, raw in health.items():
            report = msgspec.convert(raw, UpstreamReport)
            known = merged.setdefault(name, UpstreamReport())
            known.in_flight += report.in_flight
            known.set_aside = sorted({*known.set_aside, *report.set_aside})
    return merged


def health_of(reports: Mapping[str, UpstreamReport], now: float) -> Health:
    """The reports as the planner wants them; `now` in monotonic seconds."""
    health = Health()
    for name, report in reports.items():
        for credential in report.set_aside:
            health.set_aside(name, credential, now)
    return health


def shown_upstreams(snapshot: Snapshot, reports: Mapping[str, UpstreamReport]) -> list[ShownUpstream]:
    """Every configured upstream, in file order."""
    models: dict[str, list[ShownModel]] = {}
    for model, homes in snapshot.catalogue.listed_models().items():
        for home in homes:
            state: Literal["listed", "discovered"] = "discovered" if model in home.discovered else "listed"
            shown = ShownModel(id=model, shutdown_date=home.shutdown_date(model), state=state)
            models.setdefault(home.name, []).append(shown)
    return [
        _shown(name, upstream, models.get(name, []), reports.get(name, UpstreamReport()))
        for name, upstream in snapshot.settings.upstreams.items()
    ]


def _shown(
    name: str, upstream: UpstreamSettings, models: list[ShownModel], report: UpstreamReport
) -> ShownUpstream:
    credentials = [
        ShownCredential(n=n + 1, state="set_aside" if n in report.set_aside else "ready")
        for n in range(len(upstream.credentials))
    ]
    all_rest = bool(credentials) and all(credential.state == "set_aside" for credential in credentials)
    state: Literal["ready", "disabled", "credential_set_aside"] = "ready"
    if not upstream.enabled:
        state = "disabled"
    elif all_rest:
        state = "credential_set_aside"
    return ShownUpstream(
        name=name,
        kind=upstream.kind,
        base_url=upstream.base_url,
        state=state,
        credentials=credentials,
        models=models,
        in_flight=report.in_flight,
    )
