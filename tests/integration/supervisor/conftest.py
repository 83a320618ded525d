"""Gateways that leave nothing behind, whatever a test did to them."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.supervisor.paths import embedded_socket
from tests.integration.supervisor.gateway_run import GatewayRun


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that does not exist yet."""
    parent = Path(tempfile.mkdtemp(prefix="tunegate-test-"))
    yield parent / "data"
    Path(embedded_socket(parent / "data")).unlink(missing_ok=True)
    shutil.rmtree(parent)


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
