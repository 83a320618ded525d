"""What becomes of a call on a cluster whose every answer is in the test's hand."""

import asyncio
import time

import pytest

from gateway.store.cluster import Cluster
from gateway.store.errors import StoreAway, StoreReplyError
from gateway.store.greeting import pack
from gateway.store.scripts import Script
from gateway.store.slots import SLOTS, slot_of
from tests.support.polling import until
from tests.unit.store.scripted import ScriptedCluster

A, B, C = ("a", 1), ("b", 1), ("c", 1)
FOO, BAR = ("GET", "foo"), ("GET", "bar")  # foo is in the upper half, bar in the lower
HEARD_FOO, HEARD_BAR = [b"GET", b"foo"], [b"GET", b"bar"]
SLOT = slot_of(FOO)
SCRIPT = Script.of("one", "return 1")
TO_A, TO_B = b"-MOVED %d a:1\r\n" % SLOT, b"-MOVED %d b:1\r\n" % SLOT
TRYAGAIN = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
DOWN = b"-CLUSTERDOWN The cluster is down\r\n"


@pytest.fixture
def scripted():
    return ScriptedCluster((0, SLOTS // 2 - 1, A), (SLOTS // 2, SLOTS - 1, B))


@pytest.fixture
def changes():
    return []


@pytest.fixture
async def cluster(scripted, changes):
    cluster = Cluster(scripted, timeout_s=0.2, clock=time.monotonic, on_change=changes.append)
    await cluster.topology.open()
    yield cluster
    await cluster.topology.aclose()


@pytest.fixture
def a(scripted):
    return scripted.node(*A)


@pytest.fixture
def b(scripted):
    return scripted.node(*B)


async def get(cluster, command=FOO, script=None):
    return await cluster.call(slot_of(command), pack(command), None, script)


async def get_many(cluster, *commands):
    return await cluster.call_many(commands, [pack(command) for command in commands], None)


async def test_a_call_goes_to_the_node_of_its_slot(cluster, a, b):
    b.replies = [b"$1\r\nf\r\n"]
    assert await get(cluster) == b"f"
    await get(cluster, BAR)
    assert (a.heard, b.heard) == ([[HEARD_BAR]], [[HEARD_FOO]])


async def test_a_call_without_a_key_goes_to_any(cluster, a, b):
    assert await get(cluster, ("PING",)) == b"OK"
    assert len(a.heard) + len(b.heard) == 1


async def test_calls_of_a_tick_leave_in_one_write_a_node(cluster, a, b):
    await asyncio.gather(get(cluster), get(cluster, BAR), get_many(cluster, FOO, BAR, FOO), get(cluster))
    assert (a.heard, b.heard) == ([[HEARD_BAR] * 2], [[HEARD_FOO] * 4])


async def test_moved_is_followed_and_remembered(cluster, a, b, scripted):
    b.replies = [TO_A]
    a.replies = [b":1\r\n", b":2\r\n"]
    scripted.owners = [(0, SLOTS - 1, A)]
    assert await get(cluster) == 1
    assert await get(cluster) == 2
    assert (a.heard, b.heard) == ([[HEARD_FOO]] * 2, [[HEARD_FOO]])


async def test_moved_may_lead_to_a_new_node_and_asks_for_the_map(cluster, a, b, scripted):
    scripted.owners[1] = (SLOTS // 2, SLOTS - 1, C)
    b.replies = [b"-MOVED %d c:1\r\n" % SLOT]
    looks = a.looks
    assert await get(cluster) == b"OK"
    assert scripted.node(*C).heard == [[HEARD_FOO]]
    await until(lambda: a.looks > looks, "the look at the map")
    await until(lambda: cluster.topology.lane_of(SLOT + 1).node == C, "the new map")


async def test_a_node_that_names_no_host_means_its_own(cluster, b, scripted):
    b.replies = [b"-MOVED %d :2\r\n" % SLOT]
    await get(cluster)
    assert scripted.node("b", 2).heard == [[HEARD_FOO]]


async def test_a_node_that_does_not_know_where_to_is_asked_again(cluster, b):
    b.replies = [b"-MOVED %d ?:2\r\n" % SLOT]
    assert await get(cluster) == b"OK"
    assert b.heard == [[HEARD_FOO]] * 2


async def test_ask_is_followed_for_one_call_with_asking_in_the_same_write(cluster, a, b):
    b.replies = [b"-ASK %d a:1\r\n" % SLOT]
    a.replies = [b"+OK\r\n", b":1\r\n"]
    assert await get(cluster) == 1
    await get(cluster)
    assert (a.heard, b.heard) == ([[[b"ASKING"], HEARD_FOO]], [[HEARD_FOO]] * 2)


async def test_a_script_is_loaded_before_asking(cluster, a, b):
    run = ("EVALSHA", SCRIPT.sha, 1, "foo")
    heard = [b"EVALSHA", SCRIPT.sha.encode(), b"1", b"foo"]
    load = [b"SCRIPT", b"LOAD", SCRIPT.source.encode()]
    b.replies = [b"-NOSCRIPT\r\n", b"+sha\r\n", b"-ASK %d a:1\r\n" % SLOT]
    a.replies = [b"+OK\r\n", b"-NOSCRIPT\r\n", b"+sha\r\n", b"+OK\r\n", b":1\r\n"]
    assert await get(cluster, run, SCRIPT) == 1
    assert b.heard == [[heard], [load, heard]]
    assert a.heard == [[[b"ASKING"], heard], [load, [b"ASKING"], heard]]


async def test_a_node_that_takes_no_scripts_says_so(cluster, b):
    b.replies = [b"-NOSCRIPT\r\n", b"-NOPERM\r\n", b"-NOSCRIPT no such script\r\n"]
    with pytest.raises(StoreReplyError, match="no such script"):
        await get(cluster, ("EVALSHA", SCRIPT.sha, 1, "foo"), SCRIPT)
    assert len(b.heard) == 2


async def test_tryagain_waits_until_the_slot_has_arrived(cluster, b):
    b.replies = [TRYAGAIN, TRYAGAIN, b":1\r\n"]
    began = time.monotonic()
    assert await get(cluster) == 1
    assert time.monotonic() - began >= 0.02
    assert len(b.heard) == 3


@pytest.mark.parametrize("refusal", [TRYAGAIN, DOWN], ids=["TRYAGAIN", "CLUSTERDOWN"])
async def test_nobody_waits_longer_than_for_a_reply(cluster, b, refusal):
    b.replies = [refusal] * 1000
    began = time.monotonic()
    with pytest.raises(StoreAway, match=refusal[1:9].decode()):
        await get(cluster)
    assert 0.2 <= time.monotonic() - began < 2
    assert 1 < len(b.heard) < 30


async def test_a_cluster_that_is_known_to_be_down_is_not_waited_for(cluster, b, scripted, changes):
    scripted.is_ok = False
    b.replies = [DOWN]
    assert await get(cluster) == b"OK"  # that one did wait
    await until(lambda: changes == [True, False], "the bad news")
    b.replies = [DOWN]
    heard = len(b.heard)
    with pytest.raises(StoreAway, match=r"scripted.cluster:// is away: CLUSTERDOWN"):
        await get(cluster)
    assert len(b.heard) == heard + 1
    scripted.is_ok = True
    await until(lambda: changes == [True, False, True], "the good news")


async def test_nodes_that_disagree_are_not_asked_without_pause(cluster, a, b):
    a.replies, b.replies = [TO_B] * 1000, [TO_A] * 1000
    with pytest.raises(StoreAway, match="did not serve it in time: MOVED"):
        await get(cluster)
    assert 6 < len(a.heard) + len(b.heard) < 40


async def test_any_other_error_is_the_callers(cluster, b):
    b.replies = [b"-WRONGTYPE no list\r\n"]
    with pytest.raises(StoreReplyError, match="WRONGTYPE"):
        await get(cluster)
    assert b.heard == [[HEARD_FOO]]


async def test_a_call_without_a_reply_is_never_sent_again(cluster, b):
    b.replies = [None]
    with pytest.raises(StoreAway, match="in time"):
        await get(cluster)
    b.replies = [None]
    b.transports[-1].cut()
    await until(lambda: len(b.transports) == 2, "the next connection")
    await until(lambda: cluster.topology.is_up)
    lost = asyncio.create_task(get(cluster))
    await until(lambda: len(b.heard) == 2, "the call")
    b.transports[-1].cut()
    with pytest.raises(StoreAway, match="may have run"):
        await lost
    assert b.heard == [[HEARD_FOO]] * 2


async def test_calls_that_wait_for_a_lost_node_go_where_its_slots_went(cluster, a, b, scripted):
    b.refuses = ConnectionRefusedError("nobody there")
    b.transports[0].cut()
    await until(lambda: not cluster.topology.lane_of(SLOT).is_connected, "the loss")
    waiting = asyncio.create_task(get(cluster))
    many = asyncio.create_task(get_many(cluster, BAR, FOO))
    await asyncio.sleep(0)
    scripted.owners = [(0, SLOTS - 1, A)]
    scripted.epoch += 1
    assert await waiting == b"OK"
    assert await many == [b"OK", b"OK"]
    assert b.heard == []
    assert [command for write in a.heard for command in write].count(HEARD_FOO) == 2


async def test_call_many_keeps_errors_in_place_and_follows_the_rest(cluster, a, b):
    b.replies = [b"-ERR no\r\n", TO_A, b":3\r\n"]
    a.replies = [b":0\r\n", b":2\r\n"]
    replies = await get_many(cluster, BAR, FOO, FOO, FOO)
    assert (replies[0], replies[2:]) == (0, [2, 3])
    assert str(replies[1]) == "ERR no"


async def test_call_many_follows_all_that_were_redirected_at_once(cluster, a, b):
    b.replies = [b"-ASK %d a:1\r\n" % SLOT] * 2
    await get_many(cluster, FOO, FOO)
    assert a.heard == [[[b"ASKING"], HEARD_FOO] * 2]


async def test_call_many_that_cannot_be_complete_is_not_begun(cluster, a, b, scripted, changes):
    b.refuses = ConnectionRefusedError("nobody there")
    b.transports[0].cut()
    await until(lambda: changes == [True, False], "the breaker")
    with pytest.raises(StoreAway, match="nobody there"):
        await get_many(cluster, BAR, FOO)
    assert await get(cluster, BAR) == b"OK"
    assert a.heard == [[HEARD_BAR]]


async def test_a_redirected_call_may_be_cancelled(cluster, a, b):
    b.replies = [b"-ASK %d a:1\r\n" % SLOT, b":1\r\n"]
    a.replies = [None]
    task = asyncio.create_task(get(cluster))
    await until(lambda: a.heard, "the second attempt")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await get(cluster) == 1
