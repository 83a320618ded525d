"""What reaches the client of a stream, and that nothing does behind its end."""

import asyncio

from gateway.domain.errors import StreamBroken
from gateway.relay.pump import Limits, Pump
from gateway.relay.stream import Stream
from tests.support.fake_upstream import finish, text


class Upstream:
    is_closed = False

    def __init__(self, now: float) -> None:
        self.last_byte_at = now

    def attach(self, sink: Pump) -> None:
        sink.data(text("a"))

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None:
        self.is_closed = True


class Client:
    def __init__(self) -> None:
        self.got: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.got.append(data)


async def flowing() -> tuple[Pump, Upstream, Client]:
    """A stream whose first chunk has left, so that the next ones are known by it."""
    loop = asyncio.get_running_loop()
    upstream, client = Upstream(loop.time()), Client()
    pump = Pump(upstream, Stream(wants_usage=False), loop)
    await pump.committed(5.0)
    pump.connect(client, Limits(idle_s=60.0, keepalive_s=60.0), loop.time() + 60.0)
    pump.data(text("b"))
    return pump, upstream, client


async def test_chunks_leave_as_they_come() -> None:
    pump, _, client = await flowing()

    for chunk in (text("c"), text("d") + text("e"), text("f")[:9], text("f")[9:], finish()):
        pump.data(chunk)
    pump.end()

    assert b"".join(client.got) == b"".join(map(text, "abcdef")) + finish()
    assert (await pump.ended()).error is None


async def test_nothing_leaves_behind_the_end() -> None:
    pump, upstream, client = await flowing()
    pump.stop(StreamBroken("draining", "The gateway stops."))

    pump.data(text("c"))
    pump.data(finish())

    assert client.got == [text("a"), text("b")]
    assert (await pump.ended()).error is not None
    assert upstream.is_closed
    assert pump.relayed_text() == "ab"


async def test_a_client_that_left_gets_nothing_and_its_upstream_is_closed() -> None:
    pump, upstream, client = await flowing()
    pump.client_gone()

    pump.data(text("c"))

    ending = await pump.ended()
    assert ending.client_left
    assert client.got == [text("a"), text("b")]
    assert upstream.is_closed
