"""What a call made goes with its last reference: the collector, which looks seldom, finds no cycles."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.client import chat_bytes, raw
from tests.support.fake_upstream import FakeUpstream, chunk, drop, finish, role, stall, text
from tests.support.gateway import RunningGateway

OURS = ("gateway.", "uvicorn.")
CALLS = 5


@pytest.fixture
def collector() -> Iterator[None]:
    """Off meanwhile, and asked to keep what it finds."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def garbage() -> Counter[str]:
    """What of ours was left in cycles, by type."""
    gc.collect()
    names = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    return Counter({name: count for name, count in names.items() if name.startswith(OURS)})


async def left_by_a_client(port: int, call: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(call)
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


async def test_calls_leave_no_cycles(
    gateway: RunningGateway, key: str, upstream: FakeUpstream, collector: None
) -> None:
    def plays(*steps: object, times: int = CALLS) -> None:
        for _ in range(times):
            upstream.plays("cycles", *steps)  # type: ignore[arg-type]  # steps of every kind

    plain = chat_bytes(key, model="cycles")
    stream = chat_bytes(key, model="cycles", stream=True)
    close = b"Host: x\r\nConnection: close"
    for call in (plain, stream, chat_bytes(key, model="nobody-has-it"), b"nonsense\r\n\r\n"):
        for _ in range(CALLS):
            await raw(gateway.port, call.replace(b"Host: x", close))
    plays(role(), text("a"), drop())  # after the commit point
    for _ in range(CALLS):
        await raw(gateway.port, stream.replace(b"Host: x", close))
    plays(role(), drop())  # before it: tried again
    for _ in range(CALLS):
        await raw(gateway.port, stream.replace(b"Host: x", close))
    plays(role(), text("a"), stall())
    for _ in range(CALLS):
        await left_by_a_client(gateway.port, stream)
    plays(chunk({"content": "a"}), finish(), times=1)
    await raw(gateway.port, stream.replace(b"Host: x", close))
    await gateway.access_lines(6 * CALLS + 1)

    assert garbage() == {}


async def test_an_idle_connection_keeps_nothing_of_its_last_call(
    gateway: RunningGateway, key: str, upstream: FakeUpstream
) -> None:
    upstream.plays("long", role(), text("a"), finish())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(chat_bytes(key, model="long", stream=True, user="u" * 100_000))
    await reader.readuntil(b"\r\n0\r\n\r\n")
    await gateway.access_lines(1)

    (connection,) = gateway.server.server_state.connections
    writer.close()

    assert connection.cycle.response_complete
    assert connection.cycle.body == b""
