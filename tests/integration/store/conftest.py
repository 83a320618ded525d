"""All tests of the store run on the loop that serves (uvloop) and on Python's own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import uvloop

from gateway.store.client import Store
from tests.support.valkey_cluster import ValkeyCluster


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def _whole_cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(_whole_cluster: ValkeyCluster) -> ValkeyCluster:
    """Three primaries, empty. They are shared: a test that ends one starts its own."""
    _whole_cluster.flush()
    return _whole_cluster


@pytest.fixture
async def on_cluster(cluster: ValkeyCluster) -> AsyncIterator[Store]:
    """An open client of `cluster`, patient enough for a busy machine."""
    store = Store(cluster.url, timeout_s=5)
    await store.open()
    yield store
    await store.aclose()
