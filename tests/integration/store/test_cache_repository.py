"""The response cache on a real server and a real cluster: entries, generations, flights and their ends."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from gateway.cache.port import CacheAway, Generations, Part, Purged, Ticket
from gateway.store import keys
from gateway.store.cache_repository import CacheRepository
from gateway.store.client import Store
from tests.support.polling import until
from tests.support.valkey import ValkeyServer

SUPPORT = Purged("support", "key:07abcdefghij")
KEY = sha256(b"a call").hexdigest()
LEASE_MS = 10_000
_numbers = itertools.count()


@pytest.fixture(params=["valkey", "cluster"])
def server_url(request: pytest.FixtureRequest) -> str:
    """One server, and a cluster of three."""
    url: str = request.getfixturevalue(request.param).url
    return url


@pytest.fixture
async def client(server_url: str) -> AsyncIterator[Store]:
    """An open client of it, patient enough for a busy machine."""
    store = Store(server_url, timeout_s=5)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def cache(client: Store) -> CacheRepository:
    return CacheRepository(client, is_shared=False)


def ticket(lease_ms: int = LEASE_MS) -> Ticket:
    return Ticket(f"flight-{next(_numbers)}", lease_ms)


async def led(cache: CacheRepository, lease_ms: int = LEASE_MS) -> str:
    """A flight that has just been begun."""
    wish = ticket(lease_ms)
    look = await cache.look(SUPPORT, KEY, wish)
    assert look.flight == wish.flight
    return wish.flight


async def test_an_entry_is_found_until_it_is_dropped(cache: CacheRepository) -> None:
    assert (await cache.look(SUPPORT, KEY, None)).entry is None
    await cache.put(KEY, b"\x00an answer\xff", ttl_s=60)
    assert (await cache.look(SUPPORT, KEY, None)).entry == b"\x00an answer\xff"
    look = await cache.look(SUPPORT, KEY, ticket())
    assert (look.entry, look.flight) == (b"\x00an answer\xff", None)
    await cache.put(KEY, b"another", ttl_s=60)
    assert (await cache.look(SUPPORT, KEY, None)).entry == b"another"
    await cache.drop(KEY)
    assert (await cache.look(SUPPORT, KEY, None)).entry is None


async def test_without_reading_only_generations_come(cache: CacheRepository) -> None:
    await cache.put(KEY, b"an answer", ttl_s=60)
    look = await cache.look(SUPPORT, KEY, ticket(), read=False)
    assert (look.entry, look.flight) == (None, None)
    assert look.generations == (await cache.look(SUPPORT, KEY, None)).generations


async def test_everything_that_is_kept_expires(cache: CacheRepository, client: Store) -> None:
    await cache.put(KEY, b"an answer", ttl_s=7)
    assert 6000 < await client.call("PTTL", keys.cache_entry(KEY)) <= 7000
    await cache.drop(KEY)
    flight = await led(cache)
    assert 9000 < await client.call("PTTL", keys.cache_flight(KEY)) <= LEASE_MS
    await cache.append(KEY, flight, [b"a"], 20_000)
    assert 19_000 < await client.call("PTTL", keys.cache_flight(KEY)) <= 20_000
    assert 34_000 < await client.call("PTTL", keys.cache_frames(KEY, flight)) <= 35_000
    for name in (
        keys.CACHE_GENERATION,
        keys.cache_generation_of_alias(SUPPORT.alias),
        keys.cache_generation_of_scope(SUPPORT.scope),
    ):
        assert await client.call("PTTL", name) > 1e10


async def test_scripts_that_the_server_has_forgotten_are_sent_again(
    store: Store, valkey: ValkeyServer
) -> None:
    cache = CacheRepository(store, is_shared=True)
    for _ in range(2):
        valkey.run("SCRIPT", "FLUSH", "SYNC")
        flight = await led(cache)
        valkey.run("SCRIPT", "FLUSH", "SYNC")
        assert await cache.append(KEY, flight, [b"a"], LEASE_MS)
        assert await cache.read(KEY, flight, 0, 0) == Part([b"a"], "open")
        await cache.release(KEY, flight)
        await cache.purge()
        await cache.put("0" * 64, b"an answer", ttl_s=60)


# Generations.


async def test_generations_stay_until_a_purge(cache: CacheRepository) -> None:
    first = (await cache.look(SUPPORT, KEY, None)).generations
    assert min(first) > 1e15
    assert (await cache.look(SUPPORT, KEY, None)).generations == first
    assert (await cache.look(Purged("", "team:a"), KEY, None)).generations.everything == first.everything


@pytest.mark.parametrize(
    ("purge", "changed"),
    [
        ({"aliases": ["support"]}, {"alias"}),
        ({"scopes": ["key:07abcdefghij"]}, {"scope"}),
        ({"aliases": ["support"], "scopes": ["key:07abcdefghij"]}, {"alias", "scope"}),
        ({}, {"everything"}),
        ({"aliases": ["another", ""], "scopes": ["team:a"]}, set()),
    ],
)
async def test_a_purge_changes_what_it_names(
    cache: CacheRepository, purge: dict[str, list[str]], changed: set[str]
) -> None:
    before = (await cache.look(SUPPORT, KEY, None)).generations
    await cache.purge(**purge)
    after = (await cache.look(SUPPORT, KEY, None)).generations
    assert {name for name in Generations._fields if getattr(before, name) != getattr(after, name)} == changed
    assert all(new >= old for old, new in zip(before, after, strict=True))


async def test_a_purge_of_what_was_never_asked_for_is_one_too(cache: CacheRepository) -> None:
    await cache.purge(aliases=["support"])
    purged = (await cache.look(SUPPORT, KEY, None)).generations
    assert (await cache.look(SUPPORT, KEY, None)).generations == purged


async def test_a_lost_generation_is_a_purge(cache: CacheRepository, client: Store) -> None:
    """The server may evict it while the entries of before are still there."""
    await cache.purge(aliases=["support"])
    before = (await cache.look(SUPPORT, KEY, None)).generations
    await client.call("DEL", keys.cache_generation_of_alias("support"))
    after = (await cache.look(SUPPORT, KEY, None)).generations
    assert after.alias > before.alias
    assert (after.everything, after.scope) == (before.everything, before.scope)


# Flights.


async def test_one_of_many_begins_a_flight_and_all_others_follow_it(cache: CacheRepository) -> None:
    wishes = [ticket() for _ in range(50)]
    looks = await asyncio.gather(*(cache.look(SUPPORT, KEY, wish) for wish in wishes))
    [flight] = {look.flight for look in looks}
    assert [look.flight == wish.flight for look, wish in zip(looks, wishes, strict=True)].count(True) == 1
    assert flight in {wish.flight for wish in wishes}
    another = await cache.look(SUPPORT, sha256(b"another call").hexdigest(), ticket())
    assert another.flight != flight


async def test_followers_read_all_frames_from_wherever_they_are(cache: CacheRepository) -> None:
    flight = await led(cache)
    assert await cache.append(KEY, flight, [b"a", b"", b"\x00\xff"], LEASE_MS)
    assert await cache.read(KEY, flight, 0, 0) == Part([b"a", b"", b"\x00\xff"], "open")
    assert await cache.read(KEY, flight, 2, 0) == Part([b"\x00\xff"], "open")
    assert await cache.read(KEY, flight, 3, 0) == Part([], "open")
    assert await cache.append(KEY, flight, [], LEASE_MS)  # a sign of life
    assert await cache.append(KEY, flight, [b"d"], LEASE_MS, last=True)
    assert await cache.read(KEY, flight, 3, 0) == Part([b"d"], "ended")
    assert await cache.read(KEY, flight, 4, 0) == Part([], "ended")
    assert not await cache.append(KEY, flight, [b"e"], LEASE_MS)


async def test_many_frames_come_in_several_parts(cache: CacheRepository) -> None:
    flight = await led(cache)
    sent = [str(number).encode() for number in range(1000)]
    await cache.append(KEY, flight, sent, LEASE_MS, last=True)
    got: list[bytes] = []
    part = Part([], "open")
    while part.state == "open":
        part = await cache.read(KEY, flight, len(got), 0)
        got += part.frames
    assert (got, part.state) == (sent, "ended")


async def test_a_reader_hears_of_a_frame_soon_and_waits_no_longer_than_it_said(
    cache: CacheRepository,
) -> None:
    loop = asyncio.get_running_loop()
    flight = await led(cache)
    reading = asyncio.create_task(cache.read(KEY, flight, 0, 5000))
    await asyncio.sleep(0.1)
    assert not reading.done()
    said_at = loop.time()
    await cache.append(KEY, flight, [b"a"], LEASE_MS)
    assert await reading == Part([b"a"], "open")
    assert loop.time() - said_at < 1
    assert await cache.read(KEY, flight, 1, 30) == Part([], "open")


async def test_a_leader_knows_whether_anyone_follows(cache: CacheRepository, client: Store) -> None:
    flight = await led(cache)
    assert not await cache.is_followed(KEY, flight)
    assert (await cache.look(SUPPORT, KEY, ticket())).flight == flight  # perhaps of the leader's process
    await cache.append(KEY, flight, [b"a"], LEASE_MS)
    assert not await cache.is_followed(KEY, flight)
    await cache.read(KEY, flight, 0, 0)
    assert await cache.is_followed(KEY, flight)
    assert 300 < await client.call("PTTL", keys.cache_followed(KEY)) <= 600
    await cache.release(KEY, flight)
    another = await led(cache)
    assert not await cache.is_followed(KEY, another)
    await cache.read(KEY, flight, 0, 0)  # who reads on of the old one does not follow the new one
    assert not await cache.is_followed(KEY, another)


async def test_who_waits_long_follows_all_the_time(cache: CacheRepository, client: Store) -> None:
    flight = await led(cache)
    reading = asyncio.create_task(cache.read(KEY, flight, 0, 10_000))
    async with asyncio.timeout(5):
        while not await cache.is_followed(KEY, flight):
            await asyncio.sleep(0.01)
        await client.call("DEL", keys.cache_followed(KEY))
        while not await cache.is_followed(KEY, flight):
            await asyncio.sleep(0.01)
    reading.cancel()


async def test_after_an_end_without_an_entry_the_next_one_leads(cache: CacheRepository) -> None:
    flight = await led(cache)
    await cache.append(KEY, flight, [b"a"], LEASE_MS, last=True)
    assert await led(cache) != flight
    assert await cache.read(KEY, flight, 0, 0) == Part([b"a"], "ended")


async def test_a_flight_that_is_given_up_is_lost_to_its_followers_and_one_of_them_leads(
    cache: CacheRepository,
) -> None:
    flight = await led(cache)
    await cache.append(KEY, flight, [b"a"], LEASE_MS)
    await cache.release(KEY, "another")
    assert (await cache.read(KEY, flight, 0, 0)).state == "open"
    reading = asyncio.create_task(cache.read(KEY, flight, 1, 5000))
    await cache.release(KEY, flight)
    assert await reading == Part([], "lost")
    assert await cache.read(KEY, flight, 0, 0) == Part([b"a"], "lost")
    wishes = [ticket() for _ in range(20)]
    looks = await asyncio.gather(*(cache.look(SUPPORT, KEY, wish) for wish in wishes))
    assert sum(look.flight == wish.flight for look, wish in zip(looks, wishes, strict=True)) == 1
    assert not await cache.append(KEY, flight, [b"late"], LEASE_MS)
    assert (await cache.read(KEY, str(looks[0].flight), 0, 0)).frames == []


async def test_a_leader_that_falls_silent_loses_its_flight_to_exactly_one_follower(
    cache: CacheRepository,
) -> None:
    flight = await led(cache, lease_ms=150)
    await cache.append(KEY, flight, [b"a"], 150)

    async def follow() -> bool:
        position = 0
        while True:
            part = await cache.read(KEY, flight, position, 5000)
            position += len(part.frames)
            if part.state == "lost":
                break
        wish = ticket()
        return (await cache.look(SUPPORT, KEY, wish)).flight == wish.flight

    async with asyncio.timeout(10):
        promoted = await asyncio.gather(*(follow() for _ in range(20)))
    assert sum(promoted) == 1
    assert not await cache.append(KEY, flight, [b"late"], 150)


async def test_of_nothing_known_there_is_nothing_to_read(cache: CacheRepository) -> None:
    assert await cache.read(KEY, "never", 0, 5000) == Part([], "lost")


async def test_a_long_flight_keeps_its_newest_frames_and_takes_nobody_in(client: Store) -> None:
    cache = CacheRepository(client, is_shared=False, kept_bytes=100)
    flight = await led(cache)
    await cache.append(KEY, flight, [b"a" * 60, b"b" * 30], LEASE_MS)
    assert (await cache.look(SUPPORT, KEY, ticket())).flight == flight
    await cache.append(KEY, flight, [b"c" * 30], LEASE_MS)
    assert (await cache.look(SUPPORT, KEY, ticket())).flight is None
    assert await cache.read(KEY, flight, 0, 0) == Part([], "lost")
    assert await cache.read(KEY, flight, 1, 0) == Part([b"b" * 30, b"c" * 30], "open")
    await cache.append(KEY, flight, [b"d" * 200], LEASE_MS)
    assert (await cache.read(KEY, flight, 3, 0)).state == "lost"
    await cache.append(KEY, flight, [b"e"], LEASE_MS, last=True)
    assert await cache.read(KEY, flight, 4, 0) == Part([b"e"], "ended")


async def test_frames_that_were_evicted_are_lost_to_all(cache: CacheRepository, client: Store) -> None:
    flight = await led(cache)
    await cache.append(KEY, flight, [b"a"], LEASE_MS)
    await client.call("DEL", keys.cache_frames(KEY, flight))
    assert await cache.read(KEY, flight, 0, 5000) == Part([], "lost")
    assert not await cache.append(KEY, flight, [b"b"], LEASE_MS)
    assert await led(cache) != flight


# The server.


def used_memory(server: ValkeyServer) -> int:
    return int(server.run("INFO", "memory").split(b"used_memory:")[1].split()[0])


async def test_a_server_that_has_the_ledger_too_is_not_filled() -> None:
    with ValkeyServer() as server:
        store = Store(server.url, timeout_s=5)
        await store.open()
        try:
            shared = CacheRepository(store, is_shared=True)
            server.run("CONFIG", "SET", "maxmemory", 10 * used_memory(server))
            flight = await led(shared)
            await shared.release(KEY, flight)
            await shared.put(KEY, b"an answer", ttl_s=60)
            assert (await shared.look(SUPPORT, KEY, None)).entry is not None
            await shared.drop(KEY)
            server.run("CONFIG", "SET", "maxmemory", int(1.2 * used_memory(server)))
            await shared.put(KEY, b"an answer", ttl_s=60)
            look = await shared.look(SUPPORT, KEY, ticket())
            assert (look.entry, look.flight) == (None, None)
            own = CacheRepository(store, is_shared=False)
            assert (await own.look(SUPPORT, KEY, ticket())).flight is not None
        finally:
            await store.aclose()


async def test_a_store_that_is_away_or_wrong_is_a_miss() -> None:
    with ValkeyServer() as server:
        store = Store(server.url, timeout_s=0.1)
        cache = CacheRepository(store, is_shared=False)
        with pytest.raises(CacheAway):
            await cache.look(SUPPORT, KEY, ticket())
        await store.open()
        server.run("RPUSH", keys.cache_entry(KEY), "not an entry")
        for wish in (None, ticket()):
            with pytest.raises(CacheAway, match="WRONGTYPE"):
                await cache.look(SUPPORT, KEY, wish)
        server.kill()
        for _ in range(6):
            for attempt in (
                cache.look(SUPPORT, KEY, None),
                cache.put(KEY, b"an answer", ttl_s=1),
                cache.drop(KEY),
                cache.append(KEY, "f", [b"a"], LEASE_MS),
                cache.release(KEY, "f"),
                cache.read(KEY, "f", 0, 1000),
                cache.is_followed(KEY, "f"),
                cache.purge(),
            ):
                with pytest.raises(CacheAway):
                    await attempt
        server.start()
        await until(lambda: store.state == "up", "the server")
        assert (await cache.look(SUPPORT, KEY, None)).entry is None
        await store.aclose()


async def test_under_eviction_a_flight_is_whole_or_lost_and_a_purge_stays() -> None:
    """Flights that do not fit, beside entries: whoever reads has all, or a true beginning and a loss."""
    with ValkeyServer("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru") as server:
        store = Store(server.url, timeout_s=5)
        await store.open()
        cache = CacheRepository(store, is_shared=False)
        ends: list[str] = []
        generations: list[Generations] = []

        async def follow(key: str, flight: str, sent: list[bytes]) -> None:
            frames: list[bytes] = []
            state = "open"
            while state == "open":
                part = await cache.read(key, flight, len(frames), 5000)
                frames += part.frames
                state = part.state
            assert frames == sent[: len(frames)]
            assert state == "lost" or frames == sent
            ends.append(state)

        async def fly(number: int) -> None:
            key = f"{number:064d}"
            wish = ticket()
            look = await cache.look(SUPPORT, key, wish)
            assert look.flight == wish.flight
            sent = [b"%d-%d" % (number, place) * 2000 for place in range(20)]
            followers = [asyncio.create_task(follow(key, wish.flight, sent)) for _ in range(2)]
            for place, frame in enumerate(sent):
                await cache.append(key, wish.flight, [frame], 1000, last=place == 19)
                await cache.put(f"{number}-{place}", b"x" * 5000, 60)
                generations.append((await cache.look(SUPPORT, key, None, read=False)).generations)
            await asyncio.gather(*followers)

        async with asyncio.timeout(30):
            for number in range(0, 40, 2):  # two at a time, which fit
                await asyncio.gather(fly(number), fly(number + 1))
            assert b"evicted_keys:0\r\n" not in server.run("INFO", "stats")
            assert "ended" in ends
            await asyncio.gather(*(fly(number) for number in range(40, 80)))
            assert "lost" in ends
        for name in Generations._fields:
            numbers = [getattr(each, name) for each in generations]
            assert numbers == sorted(numbers)
        await store.aclose()
