import asyncio
import time

import pytest

from gateway.store import topology as topology_module
from gateway.store.errors import StoreAway
from gateway.store.greeting import pack
from gateway.store.slots import SLOTS
from gateway.store.topology import Topology
from tests.support.polling import until
from tests.unit.store.scripted import ScriptedCluster

A, B, C = ("a", 1), ("b", 1), ("c", 1)
GET = pack(("GET", "any"))


@pytest.fixture
def scripted():
    return ScriptedCluster((0, 8191, A), (8192, SLOTS - 1, B))


@pytest.fixture
def changes():
    return []


@pytest.fixture
async def topology(scripted, changes):
    topology = Topology(scripted, timeout_s=0.1, clock=time.monotonic, on_change=changes.append)
    yield topology
    await topology.aclose()


async def test_opening_connects_to_every_primary(topology, changes):
    with pytest.raises(StoreAway, match="it was not opened"):
        topology.lane_of(0)
    await topology.open()
    await asyncio.sleep(0)
    assert (topology.lane_of(0).node, topology.lane_of(SLOTS - 1).node) == (A, B)
    assert topology.lane_of(None).is_connected
    assert (topology.is_up, changes) == (True, [True])


async def test_without_a_seed_it_goes_on_trying(topology, scripted, changes):
    scripted.node(*A).refuses = ConnectionRefusedError("nobody there")
    with pytest.raises(StoreAway, match=r"scripted.cluster:// is away: nobody there"):
        await topology.open()
    scripted.node(*A).refuses = None
    await until(lambda: topology.is_up)
    await until(lambda: changes == [True])


async def test_a_primary_that_is_away_at_the_start_is_named(topology, scripted):
    scripted.node(*B).refuses = ConnectionRefusedError("nobody there")
    with pytest.raises(StoreAway, match=r"is away: no answer from b:1$"):
        await topology.open()
    assert await topology.lane_of(0).send(GET) == b"OK"
    with pytest.raises(StoreAway, match="nobody there"):
        topology.lane_of(SLOTS - 1).send(GET)
    scripted.node(*B).refuses = None
    await until(lambda: topology.is_up)


async def test_slots_without_a_primary_are_away(topology, scripted):
    scripted.owners = scripted.owners[:1]
    with pytest.raises(StoreAway, match="not every slot has a primary"):
        await topology.open()
    assert await topology.lane_of(0).send(GET) == b"OK"
    with pytest.raises(StoreAway, match="not every slot has a primary"):
        topology.lane_of(SLOTS - 1)


async def test_a_server_that_is_no_cluster_says_so(topology, scripted, monkeypatch):
    monkeypatch.setattr(ScriptedCluster, "info", b"-ERR This instance has cluster support disabled\r\n")
    with pytest.raises(StoreAway, match="cluster support disabled"):
        await topology.open()


async def test_whatever_a_node_says_for_a_map_it_goes_on_trying(topology, scripted, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ScriptedCluster, "info", b"$5\r\nhello\r\n")
        with pytest.raises(StoreAway, match="KeyError"):
            await topology.open()
    await until(lambda: topology.is_up)


async def test_of_two_maps_the_newer_counts(topology, scripted):
    await topology.open()
    stale = ScriptedCluster((0, SLOTS - 1, B))
    stale.epoch = 0
    scripted.node(*B)._cluster = stale
    topology.look_again()
    looks = scripted.node(*B).looks
    await until(lambda: scripted.node(*B).looks > looks)
    await asyncio.sleep(0)
    assert topology.lane_of(0).node == A
    stale.epoch = 2
    topology.look_again()
    await until(lambda: topology.lane_of(0).node == B, "the newer map")


async def test_all_is_quiet_while_all_is_well(topology, scripted, monkeypatch):
    monkeypatch.setattr(topology_module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(topology_module, "LOOK_PAUSE_S", 0)
    await topology.open()
    a, b = scripted.node(*A), scripted.node(*B)
    looks = a.looks
    await asyncio.sleep(0.05)
    assert a.looks == looks
    b.refuses = ConnectionRefusedError("nobody there")
    b.transports[0].cut()
    await until(lambda: a.looks > looks + 3, "looks for as long as anything is amiss")
    b.refuses = None
    await until(lambda: topology.lane_of(SLOTS - 1).is_connected)
    await asyncio.sleep(0.02)
    looks = a.looks
    await asyncio.sleep(0.05)
    assert a.looks == looks


async def test_there_is_one_look_at_a_time(topology, scripted, monkeypatch):
    monkeypatch.setattr(topology_module, "LOOK_PAUSE_S", 0.02)
    await topology.open()
    looks = scripted.node(*A).looks
    for _ in range(100):
        topology.look_again()
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert 1 <= scripted.node(*A).looks - looks <= 3


async def test_a_node_that_hangs_does_not_keep_the_others_from_telling(topology, scripted, monkeypatch):
    monkeypatch.setattr(topology_module, "LOOK_S", 0.02)
    await topology.open()
    scripted.node(*B).transports[0].hear = lambda _: None
    scripted.owners = [(0, SLOTS - 1, A)]
    topology.look_again()
    await until(lambda: topology.lane_of(SLOTS - 1).node == A, "the new map")


async def test_where_all_primaries_are_gone_any_known_node_is_asked(topology, scripted):
    await topology.open()
    scripted.owners = [(0, SLOTS - 1, C)]
    for place in (A, B):
        scripted.node(*place).refuses = ConnectionRefusedError("nobody there")
        scripted.node(*place).transports[-1].cut()
    await until(lambda: not topology.is_up)
    scripted.node(*B).refuses = None
    await until(lambda: topology.lane_of(0).node == C, "the new map")
    await until(lambda: topology.is_up)


async def test_a_retired_lane_still_gets_its_replies(topology, scripted, monkeypatch):
    monkeypatch.setattr(topology_module, "LOOK_S", 0.02)
    await topology.open()
    b = scripted.node(*B)
    b.replies = [None]
    reply = topology.lane_of(SLOTS - 1).send(GET, 5)
    await until(lambda: b.heard, "the call")
    scripted.owners = [(0, SLOTS - 1, A)]
    topology.look_again()
    await until(lambda: topology.lane_of(SLOTS - 1).node == A, "the new map")
    b.transports[0].says(b":1\r\n" * 3)
    assert await reply == 1
    await until(lambda: not topology._retiring, "the end of the lane")
    assert b.transports[0]._is_cut


async def test_closing_ends_retired_lanes_too(topology, scripted, monkeypatch):
    monkeypatch.setattr(topology_module, "LOOK_S", 0.02)
    await topology.open()
    b = scripted.node(*B)
    b.replies = [None]
    reply = topology.lane_of(SLOTS - 1).send(GET, 60)
    await until(lambda: b.heard, "the call")
    scripted.owners = [(0, SLOTS - 1, A)]
    topology.look_again()
    await until(lambda: topology._retiring, "the retirement")
    await topology.aclose()
    await topology.aclose()
    with pytest.raises(StoreAway):
        await reply
    assert b.transports[0]._is_cut
    with pytest.raises(StoreAway, match="it was closed"):
        topology.learn(0, C)
