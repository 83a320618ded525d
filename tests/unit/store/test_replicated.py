import asyncio
import time

import pytest

from gateway.store import replicated as module
from gateway.store.errors import StoreAway, StoreReplyError
from gateway.store.greeting import pack
from gateway.store.lane import NotSent
from gateway.store.replicated import NotReplicated, ReplicatedLane, Replication
from tests.support.polling import until
from tests.unit.store.scripted import ScriptedAddress

ADD = pack(("INCR", "x"))


@pytest.fixture
def address():
    return ScriptedAddress()


@pytest.fixture
async def lane(address):
    lane = ReplicatedLane(
        address,
        replication=Replication(1, 0.05),
        timeout_s=0.05,
        clock=time.monotonic,
        on_change=lambda _: None,
    )
    await lane.open()
    yield lane
    await lane.aclose()


async def heard(address, count):
    """The next commands, once there are so many."""
    found = []

    def is_enough():
        found.extend(address.transports[-1].heard)
        return len(found) >= count

    await until(is_enough)
    return found


async def test_calls_of_one_moment_share_a_wait_and_have_their_replies_after_it(lane, address):
    calls = [lane.send(ADD) for _ in range(3)]
    *adds, wait = await heard(address, 4)
    assert adds == [[b"INCR", b"x"]] * 3
    assert wait[:2] == [b"WAIT", b"1"]
    assert 1 <= int(wait[2]) <= 50
    address.transports[0].says(b":1\r\n:2\r\n:3\r\n")
    await asyncio.sleep(0)
    assert not any(call.done() for call in calls)
    address.transports[0].says(b":1\r\n")
    assert await asyncio.gather(*calls) == [1, 2, 3]


async def test_those_that_come_meanwhile_leave_together_behind_it(lane, address):
    first = lane.send(ADD)
    await heard(address, 2)
    later = [lane.send(ADD), lane.send(ADD)]
    await asyncio.sleep(0.005)
    assert address.transports[0].heard == []
    address.transports[0].says(b":1\r\n:1\r\n")
    assert await first == 1
    assert [each[0] for each in await heard(address, 3)] == [b"INCR", b"INCR", b"WAIT"]
    address.transports[0].says(b":2\r\n:3\r\n:2\r\n")
    assert await asyncio.gather(*later) == [2, 3]


@pytest.mark.parametrize("said", [b":0\r\n", b"-NOPERM no permissions to run the 'wait' command\r\n"])
async def test_too_few_replicas_and_for_a_while_nobody_waits(lane, address, monkeypatch, said):
    monkeypatch.setattr(module, "DOUBT_S", 0.03)
    call = lane.send(ADD)
    await heard(address, 2)
    address.transports[0].says(b":1\r\n" + said)
    with pytest.raises(NotReplicated, match=r"0 replicas of 1 have it|NOPERM"):
        await call
    call = lane.send(ADD)
    assert await heard(address, 1) == [[b"INCR", b"x"]]
    address.transports[0].says(b":2\r\n")
    with pytest.raises(NotReplicated, match="behind a moment ago"):
        await call
    await asyncio.sleep(0.03)
    call = lane.send(ADD)
    await heard(address, 2)
    address.transports[0].says(b":3\r\n:1\r\n")
    assert await call == 3


async def test_an_error_is_its_own_and_the_others_have_their_replies(lane, address):
    good, bad = lane.send(ADD), lane.send(ADD)
    await heard(address, 3)
    address.transports[0].says(b":1\r\n-MOVED 1 b:1\r\n:1\r\n")
    assert await good == 1
    with pytest.raises(StoreReplyError, match="MOVED"):
        await bad


async def test_a_wait_that_is_not_answered_is_no_yes(lane, address, monkeypatch):
    monkeypatch.setattr(module, "SLACK_S", 0.01)
    call = lane.send(ADD)
    await heard(address, 2)
    address.transports[0].says(b":1\r\n")
    with pytest.raises(NotReplicated, match="did not answer in time"):
        await call


async def test_what_had_no_time_left_is_not_sent(lane, address):
    first = lane.send(ADD)
    await heard(address, 2)
    late = lane.send(ADD, 0.001)
    await asyncio.sleep(0.01)
    address.transports[0].says(b":1\r\n:1\r\n")
    assert await first == 1
    with pytest.raises(StoreAway, match="not sent"):
        await late
    assert address.transports[0].heard == []


async def test_a_cancelled_call_hurts_nobody(lane, address):
    first, second = lane.send(ADD), lane.send(ADD)
    await heard(address, 3)
    first.cancel()
    address.transports[0].says(b":1\r\n:2\r\n:1\r\n")
    assert await second == 2


async def test_a_retired_lane_hands_back_what_it_had_not_sent(lane, address):
    sent = lane.send(ADD)
    await heard(address, 2)
    held = lane.send(ADD)
    retiring = asyncio.create_task(lane.retire())
    await asyncio.sleep(0)
    with pytest.raises(NotSent):
        await held
    address.transports[0].says(b":1\r\n:1\r\n")
    assert await sent == 1
    await retiring


async def test_closing_fails_what_is_in_flight_and_what_waits(lane, address):
    sent = lane.send(ADD)
    await heard(address, 2)
    held = lane.send(ADD)
    await lane.aclose()
    for call in (sent, held):
        with pytest.raises(StoreAway, match="it was closed"):
            await call
    with pytest.raises(StoreAway):
        lane.send(ADD)
