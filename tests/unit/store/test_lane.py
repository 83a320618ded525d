import asyncio
import time

import pytest

from gateway.store.errors import StoreAway
from gateway.store.greeting import pack
from gateway.store.lane import Lane, NotSent
from tests.support.polling import until
from tests.unit.store.scripted import ScriptedAddress

PING = pack(("PING",))


@pytest.fixture
def address():
    return ScriptedAddress()


@pytest.fixture
def changes():
    return []


@pytest.fixture
async def lane(address, changes):
    lane = Lane(address, timeout_s=0.02, clock=time.monotonic, on_change=changes.append)
    yield lane
    await lane.aclose()


async def test_opening_greets_and_tells_that_the_lane_is_up(lane, address, changes):
    await lane.open()
    await asyncio.sleep(0)
    assert lane.is_up
    assert changes == [True]
    assert len(address.transports) == 1


@pytest.mark.parametrize(
    ("greets", "why"),
    [
        (b"+OK\r\n-NOAUTH Authentication required.\r\n", "NOAUTH in answer to PING"),
        (b"+OK\r\n-LOADING Valkey is loading the dataset in memory\r\n", "LOADING in answer to PING"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak the Redis protocol"),
    ],
)
async def test_a_greeting_that_fails_says_why(lane, address, greets, why):
    address.greets = greets
    with pytest.raises(StoreAway, match=f"scripted:// is away: .*{why}"):
        await lane.open()
    assert not lane.is_up


async def test_a_server_that_forbids_client_still_serves(lane, address):
    address.greets = b"-NOPERM no permissions to run the 'client' command\r\n+PONG\r\n"
    await lane.open()
    assert lane.is_up


async def test_a_server_that_quotes_the_password_does_not_get_it_into_our_errors(lane, address):
    address.greeting = [("AUTH", "tuner", "hunter2"), ("PING",)]
    address.greets = b"-ERR unknown command 'AUTH', with args beginning with: 'tuner' 'hunter2'\r\n+PONG\r\n"
    with pytest.raises(StoreAway, match="ERR in answer to AUTH") as caught:
        await lane.open()
    assert "hunter2" not in str(caught.value)


async def test_whatever_a_connect_raises_the_lane_goes_on_trying(lane, address):
    address.refuses = RuntimeError("hunter2")
    with pytest.raises(StoreAway, match="RuntimeError") as caught:
        await lane.open()
    assert "hunter2" not in str(caught.value)
    address.refuses = None
    await until(lambda: lane.is_up)


async def test_calls_of_one_tick_leave_together(lane, address):
    await lane.open()
    futures = [lane.send(pack(("ECHO", number))) for number in range(3)]
    await asyncio.sleep(0)
    (transport,) = address.transports
    assert len(transport.writes) == 1
    assert transport.heard == [[b"ECHO", b"0"], [b"ECHO", b"1"], [b"ECHO", b"2"]]
    transport.says(b":0\r\n:1\r\n:2\r\n")
    assert [future.result() for future in futures] == [0, 1, 2]


async def test_calls_wait_a_moment_for_the_replies_of_the_write_before_and_leave_together(lane, address):
    await lane.open()
    (transport,) = address.transports
    first = lane.send(pack(("ECHO", 0)))
    await asyncio.sleep(0)
    later = []
    for number in (1, 2):
        later.append(lane.send(pack(("ECHO", number))))
        await asyncio.sleep(0)
    assert transport.heard == [[b"ECHO", b"0"]]

    async def follow() -> None:
        await first
        later.append(lane.send(pack(("ECHO", 3))))

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    transport.says(b":0\r\n")
    await asyncio.sleep(0)
    assert len(transport.writes) == 1  # `heard` took the first
    assert transport.heard == [[b"ECHO", b"1"], [b"ECHO", b"2"], [b"ECHO", b"3"]]
    transport.says(b":1\r\n:2\r\n:3\r\n")
    await following
    assert [future.result() for future in later] == [1, 2, 3]


async def test_but_not_for_long(lane, address):
    await lane.open()
    (transport,) = address.transports
    lane.send(PING)
    await asyncio.sleep(0)
    lane.send(PING)
    await until(lambda: len(transport.writes) == 2, "the second write")


async def test_four_failures_and_an_answer_and_four_failures_are_not_in_a_row(lane, address):
    await lane.open()
    (transport,) = address.transports
    for _ in range(2):
        for future in [lane.send(PING) for _ in range(4)]:
            with pytest.raises(StoreAway):
                await future
        transport.says(b"+PONG\r\n" * 4)
        answered = lane.send(PING)
        await asyncio.sleep(0)
        transport.says(b"+PONG\r\n")
        assert await answered == b"PONG"
        assert lane.is_up
    for future in [lane.send(PING) for _ in range(5)]:
        with pytest.raises(StoreAway):
            await future
    assert not lane.is_up


async def test_an_answer_counts_even_where_the_connection_is_lost_behind_it(lane, address):
    await lane.open()
    (transport,) = address.transports
    for future in [lane.send(PING) for _ in range(4)]:
        with pytest.raises(StoreAway):
            await future
    transport.says(b"+PONG\r\n" * 4)
    answered = lane.send(PING)
    await asyncio.sleep(0)
    transport.says(b"+PONG\r\n")
    assert await answered == b"PONG"
    address.refuses = ConnectionRefusedError("nobody there")
    transport.cut()
    with pytest.raises(StoreAway, match="not connected"):
        await lane.send(PING)
    assert lane.is_up


async def test_an_open_breaker_probes_and_closes_at_the_answer(lane, address, changes, monkeypatch):
    monkeypatch.setattr("gateway.store.lane.PROBE_EVERY_S", 0.02)
    monkeypatch.setattr("gateway.store.lane.SILENT_TIMEOUTS", 1000)
    await lane.open()
    (transport,) = address.transports
    for future in [lane.send(PING) for _ in range(5)]:
        with pytest.raises(StoreAway):
            await future
    assert len(transport.heard) == 5
    with pytest.raises(StoreAway, match="is away: it did not answer in time"):
        lane.send(PING)
    await until(lambda: transport.writes, "the probe")
    assert not lane.is_up
    await until(lambda: len(transport.writes) > 1, "the next probe")
    assert set(map(tuple, transport.heard)) == {(b"PING",)}
    transport.says(b"+PONG\r\n" * len(transport.wire.waiters))  # all late but, perhaps, the last
    await until(lambda: transport.writes or lane.is_up)
    transport.says(b"+PONG\r\n" * len(transport.wire.waiters))
    await until(lambda: lane.is_up)
    await asyncio.sleep(0)
    assert changes == [True, False, True]


async def test_a_silent_connection_is_replaced(lane, address):
    await lane.open()
    with pytest.raises(StoreAway, match="did not answer in time"):
        await lane.send(PING)
    await until(lambda: len(address.transports) == 2, "the next connection")
    await until(lambda: lane._wire is not None)
    assert lane.is_up


async def test_calls_wait_for_a_new_connection_as_long_as_for_a_reply(lane, address):
    await lane.open()
    address.refuses = ConnectionRefusedError("nobody there")
    address.transports[0].cut()
    await until(lambda: lane._wire is None)
    short, long = lane.send(PING), lane.send(pack(("GET", "x")), 5)
    with pytest.raises(StoreAway, match="not connected"):
        await short
    address.refuses = None
    await until(lambda: lane._wire is not None, "the next connection")
    await until(lambda: address.transports[1].writes, "the next write")
    assert address.transports[1].heard == [[b"GET", b"x"]]
    address.transports[1].says(b"$-1\r\n")
    assert await long is None


async def test_a_listener_that_raises_breaks_no_reply(address):
    def listen(is_up: bool) -> None:
        raise RuntimeError

    seen = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
    lane = Lane(address, timeout_s=5, clock=time.monotonic, on_change=listen)
    await lane.open()
    future = lane.send(PING)
    await asyncio.sleep(0)
    address.transports[0].says(b"+PONG\r\n")
    assert await future == b"PONG"
    assert [type(error) for error in seen] == [RuntimeError]
    await lane.aclose()


async def test_a_demoted_server_is_left_for_whoever_has_the_address_now(lane, address, monkeypatch):
    monkeypatch.setattr("gateway.store.lane.READONLY_S", -1)
    await lane.open()
    write, read = lane.send(pack(("SET", "x", 1))), lane.send(pack(("GET", "x")))
    await asyncio.sleep(0)
    address.transports[0].says(b"-READONLY You can't write against a read only replica.\r\n$1\r\n1\r\n")
    with pytest.raises(StoreAway, match="the server is a replica: it took no write"):
        await write
    assert await read == b"1"
    await until(lambda: len(address.transports) == 2, "the next connection")
    await until(lambda: lane.is_connected)
    assert lane.is_up


async def test_a_server_that_never_was_a_primary_is_not_asked_for_its_successor_all_the_time(lane, address):
    await lane.open()
    for _ in range(10):
        write = lane.send(pack(("SET", "x", 1)))
        await asyncio.sleep(0)
        address.transports[0].says(b"-READONLY You can't write against a read only replica.\r\n")
        with pytest.raises(StoreAway):
            await write
    assert len(address.transports) == 1
    assert lane.is_up


async def test_calls_may_wait_for_the_first_connection(lane, address, changes):
    lane.start(is_up=True)
    future = lane.send(PING, 5)
    await until(lambda: address.transports and address.transports[0].heard == [[b"PING"]], "the call")
    address.transports[0].says(b"+PONG\r\n")
    assert await future == b"PONG"
    assert changes == []


async def test_a_retired_lane_hands_back_what_it_had_not_sent(lane, address):
    await lane.open()
    sent = lane.send(PING, 5)
    await asyncio.sleep(0)
    retiring = asyncio.create_task(lane.retire())
    unsent, cancelled = lane.send(PING, 5), lane.send(PING, 5)
    cancelled.cancel()
    with pytest.raises(NotSent):
        await unsent
    with pytest.raises(NotSent):
        lane.send(PING)
    assert address.transports[0].heard == [[b"PING"]]
    address.transports[0].says(b"+PONG\r\n")
    assert await sent == b"PONG"
    await retiring
    assert not lane.is_connected


async def test_a_loss_is_told(address):
    losses = []
    lane = Lane(
        address, timeout_s=5, clock=time.monotonic, on_change=lambda _: None, on_loss=lambda: losses.append(1)
    )
    await lane.open()
    address.refuses = ConnectionRefusedError("nobody there")
    address.transports[0].cut()
    await until(lambda: len(losses) >= 3, "the loss and attempts that failed")
    await lane.aclose()
