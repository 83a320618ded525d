"""What a request and a chunk cost, by counts, which no busy machine moves: whoever makes them dearer sees it.

Most figures are exact; of frames a request has a few to spare. Raise one on purpose, or not at all.
`python3 dev.py bench --profile` shows where they are.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.edge.protocol import GatewayProtocol
from gateway.store.wire import Wire
from gateway.upstream.http1.connection import Connection
from tests.integration.dataplane.conftest import StartGateway
from tests.support.gateway import RunningGateway
from tests.support.hot_path import LIMITS, Upstream, ask, watched

WARM_UP, REQUESTS = 20, 50
CHUNKS = 200


class Counted:
    """A transport that counts writes."""

    def __init__(self, transport: Any, counts: Counter[str]) -> None:
        self.transport = transport
        self.counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        self.counts["writes"] += 1
        self.transport.write(data)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts each write to a client, an upstream or the store from now on, and more while `watched`."""
    counts: Counter[str] = Counter()

    def count_writes(protocol: type[Any]) -> None:
        made = protocol.connection_made

        def connection_made(self: Any, transport: Any) -> None:
            made(self, Counted(transport, counts))

        monkeypatch.setattr(protocol, "connection_made", connection_made)

    for protocol in (GatewayProtocol, Connection, Wire):
        count_writes(protocol)
    return counts


@pytest.fixture
async def served(
    counts: Counter[str],  # it counts before anything is connected
    start_gateway: StartGateway,
) -> AsyncIterator[RunningGateway]:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway = await start_gateway(
        {"only": {"base_url": f"http://127.0.0.1:{port}/v1"}},
        {"support": {"model": "mock", "fallbacks": ["mock-2"]}},
    )
    yield gateway
    server.close()


async def test_a_json_request(served: RunningGateway, counts: Counter[str]) -> None:
    key = await served.new_key(limits=LIMITS)
    await ask(served, key, WARM_UP)

    with watched(counts):
        await ask(served, key, REQUESTS)

    assert counts["tasks"] <= REQUESTS + 1  # one for each, and a look at the key's record
    assert counts["parses"] == 3 * REQUESTS  # the body's fields, the model's name, the reply
    beats = 3  # the worker tells the store each few seconds that it lives, whatever it serves
    assert counts["writes"] <= 4 * REQUESTS + beats  # the admission, the request, the settlement, the reply
    assert counts["frames"] / REQUESTS < 113


async def test_a_chunk(served: RunningGateway, counts: Counter[str]) -> None:
    key = await served.new_key(limits=LIMITS)
    await ask(served, key, WARM_UP)
    with watched(counts):
        await ask(served, key, 1, stream=True, max_tokens=20)
    short = counts.copy()

    with watched(counts):
        await ask(served, key, 1, stream=True, max_tokens=20 + CHUNKS)

    assert short["frames"] < 421  # of the stream itself
    more = {name: count - short[name] for name, count in counts.items()}
    assert more["frames"] < 7.2 * CHUNKS  # two of them for all that leaves in one turn
    assert more["writes"] < 1.1 * CHUNKS
    assert max(more["parses"], more["tasks"]) < 5


async def test_what_a_request_leaves(served: RunningGateway) -> None:
    key = await served.new_key(limits=LIMITS)
    await ask(served, key, 500)
    gc.collect()
    before = sys.getallocatedblocks()

    await ask(served, key, 500)

    gc.collect()
    assert sys.getallocatedblocks() - before < 500  # not one for each
