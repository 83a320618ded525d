import asyncio
import random

import pytest

from gateway.store.errors import StoreAway, StoreReplyError
from gateway.store.wire import Wire
from tests.unit.store.scripted import ScriptedTransport

REPLIES = b"+OK\r\n$5\r\na\r\nb\n\r\n:42\r\n$-1\r\n*2\r\n$1\r\nx\r\n*1\r\n:1\r\n-OOM no room\r\n*0\r\n"
MEANING = [b"OK", b"a\r\nb\n", 42, None, [b"x", [1]], "OOM no room", []]


class Owner:
    def __init__(self) -> None:
        self.told: list[str] = []

    def refused(self, error: StoreReplyError) -> None:
        self.told.append(error.code)

    def lost(self, why: str) -> None:
        self.told.append(f"lost: {why}")


@pytest.fixture
async def wire():
    wire = Wire(lambda: 0.0)
    wire.owner = Owner()
    wire.connection_made(ScriptedTransport(wire, asyncio.get_running_loop()))
    return wire


def expect(wire: Wire, count: int) -> list[asyncio.Future]:
    futures = [asyncio.get_running_loop().create_future() for _ in range(count)]
    wire.waiters.extend((future, 0.0) for future in futures)
    return futures


def meaning(future: asyncio.Future) -> object:
    error = future.exception()
    return str(error) if error else future.result()


@pytest.mark.parametrize("seed", range(20))
async def test_any_cutting_of_the_bytes_gives_the_same_replies(wire, seed):
    futures = expect(wire, len(MEANING))
    rng = random.Random(seed)  # noqa: S311  # no secret
    rest = REPLIES
    while rest:
        cut = 1 if seed == 0 else rng.randint(1, 12)
        wire.data_received(rest[:cut])
        rest = rest[cut:]
    assert [meaning(future) for future in futures] == MEANING


async def test_a_cancelled_call_keeps_its_place(wire):
    first, second, third = expect(wire, 3)
    second.cancel()
    wire.data_received(b":1\r\n:2\r\n:3\r\n")
    assert (first.result(), third.result()) == (1, 3)


async def test_losing_the_connection_fails_what_is_in_flight_once(wire):
    first, second, third = expect(wire, 3)
    second.cancel()
    wire.data_received(b":1\r\n")
    wire.connection_lost(ConnectionResetError("reset by peer"))
    wire.close("again")
    assert first.result() == 1
    with pytest.raises(StoreAway, match=r"lost \(reset by peer\); the call may have run"):
        third.result()
    assert wire.has_answered
    assert wire.owner.told == ["lost: the connection was lost (reset by peer); the call may have run"]
    assert wire.gone.is_set()


@pytest.mark.parametrize(
    ("said", "why"), [(b"HTTP/1.1 400\r\n", "does not speak"), (b":1\r\n:2\r\n", "no call asked for")]
)
async def test_a_server_that_is_none_is_hung_up_on(wire, said, why):
    (future,) = expect(wire, 1)
    wire.data_received(said)
    assert wire.is_closed
    assert any(why in told for told in wire.owner.told)
    assert future.done()
    assert future.exception() is None or why in str(future.exception())


async def test_any_reply_is_an_answer_but_loading(wire):
    futures = expect(wire, 2)
    wire.data_received(b"-LOADING the dataset in memory\r\n")
    assert (wire.owner.told, wire.has_answered) == (["LOADING"], False)
    wire.data_received(b"-WRONGTYPE\r\n")
    assert (wire.owner.told, wire.has_answered) == (["LOADING"], True)
    assert [future.exception().code for future in futures] == ["LOADING", "WRONGTYPE"]


async def test_a_late_reply_is_no_answer(wire):
    (future,) = expect(wire, 1)
    future.set_exception(StoreAway("too late"))
    wire.data_received(b"+PONG\r\n")
    assert (wire.owner.told, wire.has_answered) == ([], False)
    assert future.exception() is not None


async def test_whoever_waits_for_replies_is_called_behind_the_next_and_once(wire):
    first, second = expect(wire, 2)
    heard = []
    wire.when_heard = lambda: heard.append(first.result())
    wire.data_received(b":1\r\n")
    wire.data_received(b":2\r\n")
    assert (heard, second.result()) == ([1], 2)
