"""A demo upstream that waits for nothing, on a real unix socket."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import openai
import pytest
import pytest_asyncio

from gateway.demo.app import DemoApp, Pacing
from gateway.demo.server import make_server
from gateway.process import listen

NOW = 1_795_000_000.0


# One server serves a module: uvicorn takes 0.1 s to stop.
# Tests that use it run in the module's loop: `pytestmark = pytest.mark.asyncio(loop_scope="module")`.


@dataclass
class Demo:
    """Where the demo listens, and every pause it would have made."""

    socket: str
    pacing: Pacing = field(default_factory=Pacing)
    pauses: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path: those of unix sockets end at about a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="demo-") as path:
        yield Path(path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(folder: Path) -> AsyncIterator[Demo]:
    demo = Demo(str(folder / "demo.sock"))
    app = DemoApp(demo.pacing, clock=lambda: NOW, sleep=demo.sleep, chance=random.Random(7))  # noqa: S311  # the same draws each time
    server = make_server(app)
    serving = asyncio.ensure_future(server.serve(sockets=[listen(demo.socket)]))
    yield demo
    server.should_exit = True
    await serving


@pytest.fixture
def demo(served: Demo) -> Demo:
    served.pauses.clear()
    return served


@pytest_asyncio.fixture(loop_scope="module")
async def http(demo: Demo) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.AsyncHTTPTransport(uds=demo.socket)
    async with httpx2.AsyncClient(transport=transport, base_url="http://demo") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def client(http: httpx2.AsyncClient) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url="http://demo/v1", api_key="any", max_retries=0, http_client=http)
