"""What other folders test as a user who may do everything, as the user of `config/store.acl`.

`TEST_STORE_ACL=1` does the same to whole folders; the slow tier has all that speak to a store so.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.integration.metering.bench import prepare
from tests.support.valkey import ValkeyServer


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def _restricted() -> Iterator[ValkeyServer]:
    with ValkeyServer(restricted=True) as server:
        yield server


@pytest.fixture
def valkey(_restricted: ValkeyServer) -> ValkeyServer:
    """A server, empty, whose `url` is the restricted user's."""
    _restricted.flush()
    return _restricted


@pytest.fixture
def server(valkey: ValkeyServer) -> ValkeyServer:
    """The same, prepared for the tests of metering."""
    prepare(valkey)
    return valkey
