"""The store client behind real sentinels: who the primary is, and what a failover costs."""

import asyncio
import contextlib
from collections.abc import Iterator

import hiredis
import pytest

from gateway.store.client import Store, StoreAway
from tests.integration.store.load import ADD, Load, opened, values
from tests.support.polling import until
from tests.support.valkey import ValkeyServer
from tests.support.valkey_sentinel import SERVICE, WatchedPair

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])  # they wait for real: once is enough

KEYS = ["one", "two"]
FAILOVER_S = 15  # sentinels that have just failed over wait before they do so again


@pytest.fixture
def pair() -> Iterator[WatchedPair]:
    """A primary, its replica and three sentinels, for each test anew: a failover cannot be undone quickly."""
    with WatchedPair(password="p@ss/word", sentinel_password="watch") as pair:  # for this test
        yield pair


def connections(server: ValkeyServer) -> int:
    """How many of ours a server has."""
    count: int = server.run("CLIENT", "LIST").count(b" name=tunegate ")
    return count


def role(server: ValkeyServer) -> bytes:
    """What a server says that it is; nothing while it drops its clients, as at a demotion."""
    try:
        name: bytes = server.run("ROLE")[0]
    except OSError:
        return b""
    return name


def is_failed_over(pair: WatchedPair, *how: str) -> bool:
    """Whether the replica is the primary now; where not, a sentinel is told to see to it (again)."""
    if role(pair.replica) == b"master":
        return True
    with contextlib.suppress(hiredis.ReplyError):  # it is at it, or has not looked at the replica lately
        pair.sentinels[0].run("SENTINEL", "FAILOVER", SERVICE, *how)
    return False


def is_in_step(pair: WatchedPair) -> bool:
    """Whether the replica has all that the primary has."""
    offsets = [server.run("ROLE") for server in (pair.primary, pair.replica)]
    return bool(offsets[0][1] == offsets[1][4])


async def test_calls_go_to_the_primary(pair):
    async with opened(pair.url) as store:
        assert await store.call("SET", "one", 1) == b"OK"
        assert await store.script(ADD, ["one"], [1]) == 2
        assert pair.primary.run("GET", "one") == b"2"
        assert (connections(pair.primary), connections(pair.replica)) == (1, 0)
        assert store.state == "up"
    await until(lambda: connections(pair.primary) == 0, "the end of the connection")
    assert all(connections(sentinel) == 0 for sentinel in pair.sentinels)

    for url, why in (
        (pair.url.replace(SERVICE, "other"), "knows no service 'other'"),
        (pair.url.replace("=watch", "=blind"), "WRONGPASS in answer to AUTH"),
        (pair.url.replace("word@", "work@"), "WRONGPASS in answer to AUTH"),
    ):
        wrong = Store(url)
        with pytest.raises(StoreAway, match=why) as caught:
            await wrong.open()
        assert "p@ss" not in str(caught.value)
        await wrong.aclose()


async def test_a_killed_primary_costs_what_no_replica_had(pair):
    async with opened(pair.url, 0.25) as store:
        states: list[str] = []
        store.on_state(states.append)
        async with Load(store, KEYS, pause_s=0.001).flowing() as load:
            await load.further(200)
        before = dict(load.counted)
        await until(lambda: is_in_step(pair), "the replica")
        load = Load(store, KEYS, pause_s=0.001)
        async with load.flowing():
            pair.primary.kill()
            await until(lambda: "away" in states, "the breaker")
            await until(lambda: states[-1] == "up", "the way back", within_s=FAILOVER_S)
            await load.further(200)
        assert all(load.errors.values())
        found = await values(store, KEYS)
        for key in KEYS:
            unknown = load.errors[key].total()
            assert 0 <= found[key] - before[key] - load.counted[key] <= unknown
        assert connections(pair.replica) == 1


@pytest.mark.parametrize("how", [(), ("COORDINATED",)], ids=["at-once", "coordinated"])
async def test_a_demoted_primary_is_left(pair, how):
    async with opened(pair.url) as store:
        load = Load(store, KEYS)
        async with load.flowing():
            await load.further(100)
            await until(lambda: is_failed_over(pair, *how), "the failover", within_s=FAILOVER_S)
            await until(lambda: role(pair.primary) == b"slave", "the demotion", within_s=FAILOVER_S)
            await until(lambda: connections(pair.replica) == 1, "the new connection", within_s=FAILOVER_S)
            await load.further(200)
        assert connections(pair.primary) == 0
        if how:  # both servers agree before they change places, so nothing that was acknowledged is lost
            found = await values(store, KEYS)
            assert all(found[key] >= load.counted[key] for key in KEYS)


async def test_a_primary_that_hangs_is_left_for_its_replica(pair):
    async with opened(pair.url, 0.1) as store:
        states: list[str] = []
        store.on_state(states.append)
        await store.call("SET", "one", 1)
        await until(lambda: pair.replica.run("GET", "one") == b"1", "the replica")
        pair.primary.pause()

        async def ask() -> None:
            while states != ["away", "up"]:
                try:
                    await store.call("INCR", "one")
                except StoreAway:
                    await asyncio.sleep(0.01)

        await asyncio.wait_for(ask(), FAILOVER_S)
        assert await store.call("INCR", "one") == int(pair.replica.run("GET", "one"))
        pair.primary.resume()


async def test_sentinels_that_are_away_matter_only_at_a_connect(pair):
    async with opened(pair.url, 0.25) as store:
        for sentinel in pair.sentinels:
            sentinel.kill()
        assert await store.call("INCR", "one") == 1
        late = Store(pair.url)
        with pytest.raises(StoreAway, match=r"sentinel 127\.0\.0\.1"):
            await late.open()
        pair.sentinels[1].start()
        await until(lambda: late.state == "up", "one sentinel")
        assert await late.call("INCR", "one") == 2
        await late.aclose()
