"""A worker between scripted upstreams and real clients, for each test anew."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.store.client import Store
from tests.support.client import Client, client_of
from tests.support.fake_upstream import FakeUpstream, running_upstream
from tests.support.gateway import RunningGateway, config_text, running_gateway
from tests.support.valkey import ValkeyServer

FT = "ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123"
BASE = "gpt-4.1-mini-2025-04-14"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves."""
    return {"uvloop": uvloop.new_event_loop}


StartGateway = Callable[..., Awaitable[RunningGateway]]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Stands for the official API: it owns the fine-tuned ids of acme."""
    async with running_upstream() as upstream:
        yield upstream


@pytest.fixture
async def relay() -> AsyncIterator[FakeUpstream]:
    """Stands for a relay that serves the same ids."""
    async with running_upstream() as upstream:
        yield upstream


@pytest.fixture
async def start_gateway(valkey: ValkeyServer, store: Store, tmp_path: Path) -> AsyncIterator[StartGateway]:
    """Starts a gateway with the given `upstreams` and `aliases` blocks."""
    async with AsyncExitStack() as stack:

        async def start(upstreams: dict[str, Any], aliases: dict[str, Any], **blocks: Any) -> RunningGateway:
            text = config_text(valkey.url, upstreams, aliases, **blocks)
            return await stack.enter_async_context(running_gateway(text, store, tmp_path))

        yield start


@pytest.fixture
async def gateway(start_gateway: StartGateway, upstream: FakeUpstream, relay: FakeUpstream) -> RunningGateway:
    """`support` is a fine-tune at `openai`, then at `relay`; its fallback is the base, at `openai`."""
    return await start_gateway(
        {
            "openai": {"base_url": upstream.url, "api_keys": ["sk-one"], "owns": ["acme"]},
            "relay": {"base_url": relay.url, "api_keys": ["sk-relay"], "owns": ["acme"]},
        },
        {
            "support": {
                "model": FT,
                "upstreams": ["openai", "relay"],
                "fallbacks": [{"model": "base", "upstreams": ["openai"]}],
            }
        },
    )


@pytest.fixture
async def key(gateway: RunningGateway) -> str:
    """A key without restrictions."""
    return await gateway.new_key()


@pytest.fixture
async def client(gateway: RunningGateway, key: str) -> AsyncIterator[Client]:
    """Calls the gateway with that key."""
    async with client_of(gateway.url, key) as client:
        yield client
