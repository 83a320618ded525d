"""A control plane in the test's own loop: real store, real sockets, all but the supervisor."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.control import plane, snapshot
from tests.integration.control.running import ADMIN_KEY, RunningControl
from tests.support.valkey import ValkeyServer

Start = Callable[..., "asyncio.Future[RunningControl]"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the store and the upstreams often, so that no test waits for it."""
    monkeypatch.setattr(snapshot, "POLL_S", 0.02)
    monkeypatch.setattr(plane, "_NOTICE_S", 0.02)


@pytest.fixture
async def start_control(valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """Starts control planes on the test's store: `await start_control(text, runtime="other", env={...})`."""
    async with AsyncExitStack() as stack:

        async def start(
            text: str = "", *, runtime: str = "run", env: dict[str, str] | None = None, **options: object
        ) -> RunningControl:
            environment = {"TUNEGATE_ADMIN_KEY": ADMIN_KEY} if env is None else env
            control = RunningControl(tmp_path, runtime, text, valkey.url, environment, **options)  # type: ignore[arg-type]  # options of its own
            return await stack.enter_async_context(control)

        yield start


@pytest.fixture
async def control(start_control: Callable[..., object]) -> RunningControl:
    """One control plane on an almost empty file."""
    return await start_control()  # type: ignore[misc,no-any-return]  # it is a coroutine function
