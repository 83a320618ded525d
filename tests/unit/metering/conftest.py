"""Logs are kept in memory: some tests allow no file to grow, and pytest would put them into one."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def _logs_in_memory() -> Iterator[None]:
    with capture_logs():
        yield
