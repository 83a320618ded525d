"""What is known of each upstream: from the configuration, the catalogue, and what the workers report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from pydantic import BaseModel

from gateway.config import UpstreamSettings
from gateway.control.snapshot import Snapshot
from gateway.routing.health import Health, UpstreamReport


class ShownCredential(BaseModel):
    """A credential by its place in `api_keys`, from 1, empty ones not counted."""

    n: int
    state: Literal["ready", "set_aside", "breaker_open"]


class ShownModel(BaseModel):
    """A model known by name at this upstream."""

    id: str
    shutdown_date: str | None
    state: Literal["listed", "discovered", "gone"]


class ShownUpstream(BaseModel):
    """An upstream as this replica sees it."""

    object: Literal["upstream"] = "upstream"
    name: str
    kind: str
    base_url: str | None
    state: Literal["ready", "disabled", "credential_set_aside", "breaker_open"]
    credentials: list[ShownCredential]
    breaker: Literal["closed", "open"]
    models: list[ShownModel]
    in_flight: int


def reports_of(healths: Iterable[Mapping[str, Any]]) -> dict[str, UpstreamReport]:
    """The workers' reports as one: calls in flight add up; a thing rests where any worker says so."""
    merged: dict[str, UpstreamReport] = {}
    for health in healths:
        for name, raw in health.items():
            report = msgspec.convert(raw, UpstreamReport)
            known = merged.setdefault(name, UpstreamReport())
            known.in_flight += report.in_flight
            known.set_aside = sorted({*known.set_aside, *report.set_aside})
            known.open = sorted({*known.open, *report.open})
            known.gone = sorted({*known.gone, *report.gone})
    return merged


def health_of(reports: Mapping[str, UpstreamReport], now: float) -> Health:
    """The reports as the planner wants them; `now` in monotonic seconds."""
    health = Health()
    health.assume(reports, now)
    return health


def shown_upstreams(snapshot: Snapshot, reports: Mapping[str, UpstreamReport]) -> list[ShownUpstream]:
    """Every configured upstream, in file order."""
    models: dict[str, dict[str, ShownModel]] = {}
    for model, homes in snapshot.catalogue.listed_models().items():
        for home in homes:
            state: Literal["listed", "discovered"] = "discovered" if model in home.discovered else "listed"
            shown = ShownModel(id=model, shutdown_date=home.shutdown_date(model), state=state)
            models.setdefault(home.name, {})[model] = shown
    for name, report in reports.items():
        at = snapshot.catalogue.homes.get(name)
        for model in report.gone:
            date = at.shutdown_date(model) if at is not None else None
            models.setdefault(name, {})[model] = ShownModel(id=model, shutdown_date=date, state="gone")
    return [
        _shown(name, upstream, [*models.get(name, {}).values()], reports.get(name, UpstreamReport()))
        for name, upstream in snapshot.settings.upstreams.items()
    ]


def _shown(
    name: str, upstream: UpstreamSettings, models: list[ShownModel], report: UpstreamReport
) -> ShownUpstream:
    credentials = [
        ShownCredential(n=n + 1, state=_credential_state(n, report)) for n in range(len(upstream.credentials))
    ]
    numbers = range(max(1, len(credentials)))  # one without credentials is called anonymously, as number 0
    state: Literal["ready", "disabled", "credential_set_aside", "breaker_open"] = "ready"
    if not upstream.enabled:
        state = "disabled"
    elif all(n in report.set_aside for n in numbers):
        state = "credential_set_aside"
    elif all(n in report.set_aside or n in report.open for n in numbers):
        state = "breaker_open"
    return ShownUpstream(
        name=name,
        kind=upstream.kind,
        base_url=upstream.base_url,
        state=state,
        credentials=credentials,
        breaker="open" if report.open else "closed",
        models=models,
        in_flight=report.in_flight,
    )


def _credential_state(n: int, report: UpstreamReport) -> Literal["ready", "set_aside", "breaker_open"]:
    if n in report.set_aside:
        return "set_aside"
    return "breaker_open" if n in report.open else "ready"
