"""A server of its own for each test, and the processes that work on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.metering.bench import Gateway, Ledger, prepare
from tests.support.valkey import ValkeyServer


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer("--appendonly", "yes", "--appendfsync", "always") as server:
        prepare(server)
        yield server


@pytest.fixture
def ledger(server: ValkeyServer) -> Ledger:
    return Ledger(server)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def gateway(server: ValkeyServer, folder: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(server.url, folder, "w1")
    await gateway.open()
    yield gateway
    await gateway.aclose()


@pytest.fixture
async def control(server: ValkeyServer, folder: Path) -> AsyncIterator[Gateway]:
    """The process that takes over and sweeps."""
    control = Gateway(server.url, folder, "control")
    await control.open()
    yield control
    await control.aclose()
