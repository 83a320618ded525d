"""One server for all tests of the accounts, and a bench on it for each."""

from collections.abc import Iterator

import pytest

from tests.integration.accounts.bench import Bench
from tests.support.valkey import ValkeyServer


@pytest.fixture(scope="session")
def _server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
def standing_bench(_server: ValkeyServer) -> Iterator[Bench]:
    """Scripts on a store that property tests clear themselves."""
    with Bench(_server) as bench:
        yield bench


@pytest.fixture
def bench(standing_bench: Bench) -> Bench:
    """Scripts on an empty store."""
    standing_bench.clear()
    return standing_bench


@pytest.fixture
def server(_server: ValkeyServer) -> ValkeyServer:
    """The server itself, empty."""
    _server.flush()
    return _server
