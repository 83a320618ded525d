"""A real Valkey for every integration test: one server a session, empty at the start of each test."""

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.store.client import Store
from tests.support.onlooker import Onlooker
from tests.support.valkey import ValkeyServer


@pytest.fixture(scope="session")
def _unix_server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
def _tcp_server() -> Iterator[ValkeyServer]:
    with ValkeyServer(tcp=True) as server:
        yield server


@pytest.fixture
def valkey(_unix_server: ValkeyServer) -> ValkeyServer:
    """A server on a unix socket, empty. It is shared: a test that stops or kills one starts its own."""
    _unix_server.flush()
    return _unix_server


@pytest.fixture
def valkey_tcp(_tcp_server: ValkeyServer) -> ValkeyServer:
    """A server on a TCP port of loopback, empty."""
    _tcp_server.flush()
    return _tcp_server


@pytest.fixture
async def store(valkey: ValkeyServer) -> AsyncIterator[Store]:
    """An open client of `valkey`, patient enough for a busy machine."""
    store = Onlooker(valkey, timeout_s=5) if valkey.is_restricted else Store(valkey.url, timeout_s=5)
    await store.open()
    yield store
    await store.aclose()
