"""The whole product for tests that do not hurt it: two workers, the demo upstream and a scripted one."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.gateway_process import GatewayProcess, running_gateway
from tests.e2e.upstream_thread import UpstreamThread, upstream_thread
from tests.support.fake_upstream import FakeUpstream

BASE = "gpt-4.1-mini-2025-04-14"
SUPPORT = f"ft:{BASE}:demo:support:D3m0Aa01"
ACME = f"ft:{BASE}:acme:support:AbC123"
SERVER = {"workers": 2, "drain_grace_s": 0.3, "drain_timeout_s": 20}


def config_with(fake: FakeUpstream, **blocks: Any) -> dict[str, Any]:
    """A configuration with both upstreams; the scripted one serves every id that starts with `fake-`."""
    return {
        "server": SERVER,
        "upstreams": {
            "demo": {"kind": "demo", "owns": ["demo"]},
            "fake": {"base_url": fake.url, "api_keys": ["sk-fake"], "owns": ["acme"], "models": ["fake-*"]},
            "down": {"base_url": "http://127.0.0.1:1/v1", "models": ["down-model"]},
            "disabled": {"base_url": "http://127.0.0.1:1/v1", "api_keys": [""], "models": ["off-model"]},
        },
        "aliases": {
            "support": {"model": SUPPORT, "upstreams": ["demo"]},
            "acme": {"model": ACME, "upstreams": ["fake"]},
            "guarded": {"model": "fake-guarded", "fallbacks": [SUPPORT]},
            "off": {"model": "off-model"},
        },
    } | blocks


@pytest.fixture(scope="session")
def scripted() -> Iterator[UpstreamThread]:
    with upstream_thread() as thread:
        yield thread


@pytest.fixture(scope="session")
def fake(scripted: UpstreamThread) -> FakeUpstream:
    """The scripted upstream: a test takes a model id of its own, so that tests do not meet."""
    return scripted.upstream


@pytest.fixture(scope="session")
def gateway(fake: FakeUpstream) -> Iterator[GatewayProcess]:
    """Shared by all tests that leave it as it was."""
    with running_gateway(config_with(fake)) as gateway:
        yield gateway
        assert gateway.stop() == 0
        assert gateway.logged("a request failed") == []


@pytest.fixture(scope="session")
def key(gateway: GatewayProcess) -> str:
    """A key that may use everything."""
    return gateway.new_key()
