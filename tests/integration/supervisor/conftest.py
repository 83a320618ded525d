"""Gateways that leave nothing behind, whatever a test did to them."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.supervisor.paths import embedded_cache_socket, embedded_socket
from tests.integration.supervisor.gateway_run import GatewayRun


@contextlib.contextmanager
def new_data_dir() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="tunegate-test-"))
    yield parent / "data"
    for path in (embedded_socket(parent / "data"), embedded_cache_socket(parent / "data")):
        Path(path).unlink(missing_ok=True)
    shutil.rmtree(parent)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that does not exist yet."""
    with new_data_dir() as data_dir:
        yield data_dir


@pytest.fixture(scope="session")
def standing() -> Iterator[GatewayRun]:
    """A gateway that is only looked at: nobody stops it or kills parts of it."""
    with new_data_dir() as data_dir:
        behaviour: dict[str, dict[str, object]] = {"control": {"notes": ["admin key: secret", "second"]}}
        gateway = GatewayRun(data_dir, workers=2, demo=True, behaviour=behaviour)
        try:
            asyncio.run(gateway.ready())
            yield gateway
        finally:
            gateway.cleanup()


@pytest.fixture
def run_gateway() -> Iterator[Callable[..., GatewayRun]]:
    """Starts gateways; at the end of the test all their processes are gone."""
    runs: list[GatewayRun] = []

    def run(*args: object, **kwargs: object) -> GatewayRun:
        runs.append(GatewayRun(*args, **kwargs))  # type: ignore[arg-type]  # passed through
        return runs[-1]

    yield run
    for each in runs:
        each.cleanup()
