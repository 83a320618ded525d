"""Traces of a worker, where the configuration asks for them."""

from __future__ import annotations

import structlog

from gateway.config.telemetry import TelemetrySettings
from gateway.snapshot import Snapshots
from gateway.telemetry.tracing import Tracing

log = structlog.get_logger(__name__)

_PROVIDERS = {"openai": "openai", "azure": "azure.ai.openai", "demo": "tunegate.demo"}


def make_tracing(settings: TelemetrySettings, snapshots: Snapshots) -> Tracing | None:
    """Start what makes and sends spans; None where nothing is to be sent, or its packages are missing."""
    if settings.otlp_url is None:
        return None
    try:
        from gateway.telemetry.otlp import OtlpExporter, Peer  # noqa: PLC0415 - an extra, 30 MB of memory
    except ImportError:
        log.exception("telemetry.otlp_url is set, but nothing is sent: pip install 'tunegate[otel]'")
        return None

    def peer_of(upstream: str) -> Peer | None:
        current = snapshots.current
        client, block = current.clients.get(upstream), current.settings.upstreams.get(upstream)
        if client is None or block is None:
            return None
        return Peer(_PROVIDERS.get(block.kind, "openai"), client.origin.host, client.origin.port)

    exporter = OtlpExporter(
        settings.otlp_url,
        {name: value.get_secret_value() for name, value in settings.otlp_headers.items()},
        settings.service_name,
        peer_of,
        lambda: snapshots.current.model_names,
        settings.interval_s,
    )
    return Tracing(exporter, sample_ratio=settings.sample_ratio, interval_s=settings.interval_s)
