"""The store client on a cluster that loses a node: its shard fails over, the others do not notice."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from gateway.store.client import StoreAway
from tests.integration.store.load import ADD, Load, opened, values
from tests.support.polling import until
from tests.support.valkey_cluster import SLOTS, ClusterNode, ValkeyCluster

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # they wait for real: once is enough

FIRST, *OTHERS = (
    next(key for key in map(str, range(100)) if key_slot(key.encode()) * 3 // SLOTS == third)
    for third in range(3)
)


@pytest.fixture(scope="module")
def _replicated() -> Iterator[ValkeyCluster]:
    with ValkeyCluster(replicas=1) as cluster:
        yield cluster


@pytest.fixture
def cluster(_replicated: ValkeyCluster) -> Iterator[ValkeyCluster]:
    """Three primaries, empty; the first one, which has `FIRST`, has a replica."""
    _replicated.flush()
    yield _replicated
    for node in _replicated.nodes:
        node.resume()
        if not node.is_running():
            node.start()
    _replicated.wait(_replicated.is_settled, "the cluster's recovery")


@pytest.fixture
async def store(cluster: ValkeyCluster):
    async with opened(cluster.url, 0.25) as store:
        yield store


@pytest.fixture
def states(store):
    seen = []
    store.on_state(seen.append)
    return seen


def pair(cluster: ValkeyCluster) -> tuple[ClusterNode, ClusterNode]:
    """The first shard's primary and its replica, as they are now."""
    primary = cluster.primary_of(FIRST)
    return primary, next(node for node in (cluster.nodes[0], cluster.nodes[3]) if node is not primary)


def connections(cluster: ValkeyCluster) -> dict[ClusterNode, int]:
    """How many of ours each running node has."""
    return {
        node: node.run("CLIENT", "LIST").count(b" name=tunegate ")
        for node in cluster.nodes
        if node.is_running()
    }


async def test_a_planned_failover_fails_no_call(cluster):
    async with opened(cluster.url) as store:
        load = Load(store, [FIRST, *OTHERS])
        async with load.flowing():
            for _ in range(2):
                await load.further(200)
                _, replica = pair(cluster)
                replica.run("CLUSTER", "FAILOVER")
                await until(replica.is_primary, "the failover")
                await load.further(100, FIRST)
            await load.further(200)
        assert not any(load.errors.values())
        assert await values(store, [FIRST, *OTHERS]) == load.counted
        assert store.state == "up"
        wanted = {node: int(node.is_primary()) for node in cluster.nodes}
        await until(
            lambda: connections(cluster) == wanted, "one connection to each primary, none to the replica"
        )
    await until(lambda: not any(connections(cluster).values()), "the end of all connections")


async def test_a_killed_primary_takes_no_other_shard_with_it_and_its_replica_is_found(cluster, store, states):
    primary, replica = pair(cluster)
    load = Load(store, [FIRST, *OTHERS], pause_s=0.001)
    async with load.flowing():
        await load.further(200)
        primary.kill()
        await until(lambda: states == ["away"], "the breaker")
        with pytest.raises(StoreAway, match=r"refused|lost"):
            await store.call("GET", FIRST)
        await load.further(100, OTHERS[0])
        await load.further(100, OTHERS[1])
        replica.run("CLUSTER", "FAILOVER", "TAKEOVER")
        await until(lambda: states == ["away", "up"], "the way back")
        await load.further(100, FIRST)
    assert load.errors[FIRST]
    assert not any(load.errors[key] for key in OTHERS)
    found = await values(store, [FIRST, *OTHERS])
    assert {key: found[key] for key in OTHERS} == {key: load.counted[key] for key in OTHERS}


async def test_a_primary_that_hangs_is_left_for_its_replica(cluster, store, states):
    primary, replica = pair(cluster)
    primary.pause()
    for _ in range(5):
        with pytest.raises(StoreAway, match=r"in time|silent"):
            await store.call("GET", FIRST)
        began = time.monotonic()
        assert await store.call("INCR", OTHERS[0]) > 0
        assert time.monotonic() - began < 0.2
    await until(lambda: states == ["away"], "the breaker")
    with pytest.raises(StoreAway):
        await store.call_many([("GET", OTHERS[0]), ("GET", FIRST)])
    replica.run("CLUSTER", "FAILOVER", "TAKEOVER")
    await until(lambda: states == ["away", "up"], "the way back")
    assert await store.call_many([("INCR", OTHERS[0]), ("INCR", FIRST)]) == [6, 1]


async def test_a_node_that_starts_anew_knows_no_script_and_is_told(cluster):
    async with opened(cluster.url) as store:
        (key, *_), node = OTHERS, cluster.primary_of(OTHERS[0])
        assert await store.script(ADD, [key], [1]) == 1
        node.kill()
        node.start()
        # Without a replica it comes back empty, and serves after the two seconds that servers take for it.
        counts = await asyncio.gather(*(store.script(ADD, [key], [1]) for _ in range(5)))
        assert sorted(counts) == [1, 2, 3, 4, 5]
        assert store.state == "up"
