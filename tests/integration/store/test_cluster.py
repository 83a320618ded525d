"""The store client on a real cluster, all of whose nodes are well: routing, scripts, slots on their way."""

import asyncio

import pytest
import trustme
from redis.crc import key_slot

from gateway.store.client import Script, Store, StoreAway, StoreReplyError
from gateway.store.topology import NodeLane
from tests.integration.store.load import ADD, Load, opened, values
from tests.support.tls_relay import tls_relay
from tests.support.valkey import ValkeyServer
from tests.support.valkey_cluster import ValkeyCluster

BOTH = Script.of("both", "return {redis.call('INCR', KEYS[1]), redis.call('INCR', KEYS[2])}")
KEYS = [f"key:{number}" for number in range(60)]  # on all three


def writes(cluster: ValkeyCluster, command: str) -> list[int]:
    """How often each node was asked for a command."""
    counts = []
    for node in cluster.nodes:
        stats = node.info("commandstats").get(f"cmdstat_{command}", "calls=0,")
        counts.append(int(stats.removeprefix("calls=").partition(",")[0]))
    return counts


def errors(cluster: ValkeyCluster, code: str) -> int:
    """How often all nodes together have answered with an error."""
    stats = [node.info("errorstats").get(f"errorstat_{code}", "count=0") for node in cluster.nodes]
    return sum(int(each.removeprefix("count=")) for each in stats)


async def test_every_key_is_where_its_slot_is(on_cluster, cluster):
    await asyncio.gather(*(on_cluster.call("SET", key, key) for key in KEYS))
    assert await on_cluster.call_many([("GET", key) for key in KEYS]) == [key.encode() for key in KEYS]
    for key in KEYS:
        assert cluster.primary_of(key).run("GET", key) == key.encode()
    assert all(node.run("DBSIZE") > 0 for node in cluster.nodes)


async def test_nobody_is_asked_for_what_he_does_not_have(on_cluster, cluster):
    for node in cluster.nodes:
        node.run("CONFIG", "RESETSTAT")
    await on_cluster.call_many([("SET", key, key) for key in KEYS])
    await on_cluster.script(ADD, ["{s07}:count"], [1])
    assert sum(writes(cluster, "set")) == len(KEYS)
    assert sorted(writes(cluster, "evalsha")) == [0, 0, 2]  # the second one with the script's text before it
    assert errors(cluster, "MOVED") == 0


async def test_one_node_in_the_url_is_enough(cluster):
    async with opened(cluster.url_of(cluster.nodes[1])) as store:
        assert await store.call_many([("SET", key, key) for key in KEYS]) == [b"OK"] * len(KEYS)


async def test_nodes_of_the_url_that_are_away_do_no_harm(cluster):
    away = ValkeyServer(tcp=True)
    with away:
        pass
    async with opened(cluster.url_of(away, cluster.nodes[2])) as store:
        assert store.state == "up"


async def test_each_node_is_given_a_script_that_it_does_not_know(on_cluster, cluster):
    counts = await asyncio.gather(*(on_cluster.script(ADD, [key], [2]) for key in KEYS))
    assert counts == [2] * len(KEYS)
    cluster.nodes[0].run("SCRIPT", "FLUSH", "SYNC")
    assert await asyncio.gather(*(on_cluster.script(ADD, [key], [2]) for key in KEYS)) == [4] * len(KEYS)


async def test_keys_of_two_slots_are_an_error_of_their_caller(on_cluster):
    with pytest.raises(StoreReplyError) as caught:
        await on_cluster.script(BOTH, ["a", "b"], [])
    assert caught.value.code == "CROSSSLOT"
    assert await on_cluster.script(BOTH, ["{x}a", "{x}b"], []) == [1, 1]


async def test_a_key_that_stands_elsewhere_in_its_command_is_found_all_the_same(on_cluster):
    entry = await on_cluster.call("XADD", "{s01}:stream", "*", "r", "x")
    read = await on_cluster.call("XREAD", "COUNT", 1, "STREAMS", "{s01}:stream", 0)
    assert read == [[b"{s01}:stream", [[entry, [b"r", b"x"]]]]]
    assert (await on_cluster.call("XINFO", "STREAM", "{s01}:stream"))[:2] == [b"length", 1]
    assert await on_cluster.call("EVAL", "return redis.call('XLEN', KEYS[1])", 1, "{s01}:stream") == 1
    assert await on_cluster.call("PING") == b"PONG"


async def test_a_slot_that_has_moved_costs_one_redirection(on_cluster, cluster):
    slot, source = key_slot(b"{moved}"), cluster.primary_of("{moved}")
    target = next(node for node in cluster.nodes if node is not source)
    await on_cluster.call("SET", "{moved}:a", 1)
    cluster.move(slot, source, target)
    for node in cluster.nodes:
        node.run("CONFIG", "RESETSTAT")
    for count in range(2, 12):
        assert await on_cluster.call("INCR", "{moved}:a") == count
    assert errors(cluster, "MOVED") == 1
    cluster.move(slot, target, source)


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_slots_move_under_load_and_no_call_fails_is_lost_or_runs_twice(on_cluster, cluster):
    keys = [f"{{travel}}:{number}" for number in range(30)]
    both = ["{travel}:left", "{travel}:right"]
    slot, source = key_slot(b"travel"), cluster.primary_of("{travel}")
    target, third = (node for node in cluster.nodes if node is not source)
    load, together = Load(on_cluster, [*keys, "elsewhere"]), 0
    for node in cluster.nodes:
        node.run("CONFIG", "RESETSTAT")
    is_over = False

    async def count_both() -> None:
        nonlocal together
        while not is_over:
            together += 1
            assert await on_cluster.script(BOTH, both, []) == [together, together]

    async with load.flowing():
        pairs = asyncio.create_task(count_both())
        for start, end in ((source, target), (target, third), (third, source)):
            await load.further(200)
            await asyncio.to_thread(cluster.begin_move, slot, start, end)
            # Slowly, so that for a while keys are on both sides.
            while await asyncio.to_thread(cluster.move_keys, slot, start, end):
                await load.further(20)
            await load.further(100)
            await asyncio.to_thread(cluster.end_move, slot, start, end)
        await load.further(200)
        is_over = True
        await pairs
    assert not any(load.errors.values())
    assert await values(on_cluster, list(load.counted)) == load.counted
    assert await values(on_cluster, both) == dict.fromkeys(both, together)
    assert all(errors(cluster, code) > 0 for code in ("MOVED", "ASK", "TRYAGAIN"))
    assert on_cluster.state == "up"


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_a_slot_that_never_arrives_keeps_no_call_longer_than_its_time(cluster):
    async with opened(cluster.url, 0.1) as store:
        slot, source = key_slot(b"halfway"), cluster.primary_of("{halfway}")
        target = next(node for node in cluster.nodes if node is not source)
        await store.call("SET", "{halfway}:a", 1)
        cluster.begin_move(slot, source, target)
        # One key is here and the other is nowhere, so it could be there.
        with pytest.raises(StoreAway, match="did not serve it in time: TRYAGAIN"):
            await store.script(BOTH, ["{halfway}:a", "{halfway}:b"], [])
        assert await store.call("INCR", "{halfway}:a") == 2  # here
        assert await store.call("INCR", "{halfway}:c") == 1  # there
        assert target.run("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
        cluster.move(slot, source, target)
        assert await store.script(BOTH, ["{halfway}:a", "{halfway}:b"], []) == [3, 1]
        cluster.move(slot, target, source)


async def test_a_server_that_is_no_cluster_is_away_and_says_why(valkey_tcp):
    store = Store(f"redis+cluster://127.0.0.1:{valkey_tcp.port}", timeout_s=5)
    with pytest.raises(StoreAway, match="cluster support disabled"):
        await store.open()
    assert store.state == "away"
    await store.aclose()


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_a_cluster_with_a_password(cluster):
    for node in cluster.nodes:
        node.run("ACL", "SETUSER", "tuner", "on", ">p@ss,word", "~*", "+@all")
    url = cluster.url.replace("://", "://tuner:p%40ss%2Cword@")
    async with opened(url) as store:
        for key in KEYS[:9]:
            assert await store.call("SET", key, 1) == b"OK"
        assert await store.call("ACL", "WHOAMI") == b"tuner"
    wrong = Store(url.replace("word@", "work@"), timeout_s=5)
    with pytest.raises(StoreAway, match="WRONGPASS in answer to AUTH") as caught:
        await wrong.open()
    assert "p@ss" not in str(caught.value)
    await wrong.aclose()
    for node in cluster.nodes:
        node.run("ACL", "DELUSER", "tuner")


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_a_cluster_behind_tls():
    ca = trustme.CA()
    with ValkeyCluster(primaries=1) as cluster, ca.cert_pem.tempfile() as pem:
        node = cluster.nodes[0]
        async with tls_relay(node.path, ca, "localhost") as port:
            # What the node says of itself is where clients find it: the relay, by the certificate's name.
            for setting in ("hostname localhost", f"port {port}"):
                name, value = setting.split()
                node.run("CONFIG", "SET", f"cluster-announce-{name}", value)
            node.run("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
            async with opened(f"rediss+cluster://localhost:{port}?ssl_ca_certs={pem}") as store:
                assert await store.call("SET", "over", "TLS") == b"OK"
                assert isinstance(store._cluster.topology.lane_of(0), NodeLane)
                assert store._cluster.topology.lane_of(0).node == ("localhost", port)


async def test_a_closed_client_refuses_calls_and_fails_those_in_flight(cluster):
    store = Store(cluster.url, timeout_s=5)
    with pytest.raises(StoreAway, match="not opened"):
        await store.call("PING")
    await store.open()
    waiting = [asyncio.create_task(store.call("BLPOP", key, 0)) for key in KEYS[:6]]
    await asyncio.sleep(0.01)
    await store.aclose()
    for task in waiting:
        with pytest.raises(StoreAway, match="closed"):
            await task
    with pytest.raises(StoreAway, match="closed"):
        await store.call("PING")
    await store.aclose()
