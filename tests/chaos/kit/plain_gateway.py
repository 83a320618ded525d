"""A gateway before a plain upstream: one model, keys without limits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.chaos.kit.plain_upstream import plain_upstream
from tests.e2e.gateway_process import GatewayProcess, running_gateway

UNLIMITED = {"rpm": None, "tpm": None, "concurrency": None}


@contextlib.contextmanager
def plain_gateway(**server: Any) -> Iterator[GatewayProcess]:
    """A gateway; `server` is that block of its configuration."""
    with plain_upstream() as base_url:
        upstream = {"base_url": base_url, "models": ["plain"], "max_concurrency": 100_000}
        # A patient store: how a gateway does when it is slow is another matter.
        store = {"data_dir": "data", "timeout_ms": 2000, "settle_timeout_ms": 2000}
        config = {
            "store": store,
            "server": server,
            "upstreams": {"plain": upstream},
            "limits": {"default": UNLIMITED},
        }
        with running_gateway(config) as gateway:
            yield gateway
