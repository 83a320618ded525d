"""Traces and metrics over OTLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from gateway.config.fields import HeaderName, Model, Number, Seconds, SecretHeaderText
from gateway.config.urls import is_base_url


class TelemetrySettings(Model):
    """Where spans and metrics go besides the log and `/metrics`."""

    otlp_url: Annotated[str, AfterValidator(is_base_url)] | None = Field(
        default=None,
        description="A collector that speaks OTLP over HTTP, such as `http://127.0.0.1:4318`; "
        "`/v1/traces` and `/v1/metrics` are appended. Needs `tunegate[otel]`. null = nothing is sent.",
    )
    otlp_headers: Mapping[HeaderName, SecretHeaderText] = Field(
        default_factory=dict, description="Sent to the collector, such as a token."
    )
    service_name: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="tunegate", description="`service.name` of what is sent."
    )
    sample_ratio: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=1.0,
        description="Share of the requests without a `traceparent` whose spans are sent; others do as their "
        "caller's trace does. Metrics count all.",
    )
    interval_s: Seconds = Field(
        default=5, description="Seconds between two sendings; what is made meanwhile waits in memory."
    )
