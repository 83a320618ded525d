"""What other folders test on one server, on a real cluster of three: their tests, this folder's fixtures."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.integration.metering.bench import prepare
from tests.support.valkey_cluster import ValkeyCluster


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def _cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster() as cluster:
        yield cluster


@pytest.fixture
def valkey(_cluster: ValkeyCluster) -> Iterator[ValkeyCluster]:
    """Three primaries, empty; they stand where other folders have their one server."""
    _cluster.flush()
    yield _cluster
    _cluster.resume()


@pytest.fixture
def server(valkey: ValkeyCluster) -> ValkeyCluster:
    """The same, prepared for the tests of metering."""
    prepare(valkey)  # type: ignore[arg-type]  # it runs commands, as a server does
    return valkey
