"""What `gateway/cache/port.py` says of a store: the real one, and the one in memory for unit tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.cache.port import CacheStore, Purged, Ticket
from gateway.store.cache_repository import CacheRepository
from gateway.store.client import Store
from tests.support.cache_store import MemoryCacheStore
from tests.support.valkey import ValkeyServer

SUPPORT = Purged("support", "key:07abcdefghij")
LEASE_MS = 10_000
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def real(server: ValkeyServer) -> AsyncIterator[CacheStore]:
    server.flush()
    store = Store(server.url, timeout_s=5)
    await store.open()
    yield CacheRepository(store, is_shared=False)
    await store.aclose()


@pytest.fixture(params=["memory", "real"])
def cache(request: pytest.FixtureRequest, real: CacheStore) -> CacheStore:
    return real if request.param == "real" else MemoryCacheStore()


@pytest.fixture
def key() -> str:
    return f"{next(_numbers):064d}"


def ticket() -> Ticket:
    return Ticket(f"flight-{next(_numbers)}", LEASE_MS)


async def led(cache: CacheStore, key: str) -> str:
    wish = ticket()
    assert (await cache.look(SUPPORT, key, wish)).flight == wish.flight
    return wish.flight


async def read_all(cache: CacheStore, key: str, flight: str) -> tuple[list[bytes], str]:
    frames: list[bytes] = []
    async with asyncio.timeout(5):
        while True:
            part = await cache.read(key, flight, len(frames), 1000)
            frames += part.frames
            if part.state != "open":
                return frames, part.state


async def test_entries(cache: CacheStore, key: str) -> None:
    assert (await cache.look(SUPPORT, key, None)).entry is None
    await cache.put(key, b"\x00an answer", 60)
    look = await cache.look(SUPPORT, key, ticket())
    assert (look.entry, look.flight) == (b"\x00an answer", None)
    assert (await cache.look(SUPPORT, key, ticket(), read=False)).entry is None
    await cache.drop(key)
    assert (await cache.look(SUPPORT, key, None)).entry is None


async def test_generations_stay_what_they_are(cache: CacheStore, key: str) -> None:
    first = (await cache.look(SUPPORT, key, None, read=False)).generations
    await led(cache, key)
    assert (await cache.look(SUPPORT, key, ticket())).generations == first


async def test_one_leads_and_all_others_follow(cache: CacheStore, key: str) -> None:
    wishes = [ticket() for _ in range(20)]
    looks = await asyncio.gather(*(cache.look(SUPPORT, key, wish) for wish in wishes))
    [flight] = {look.flight for look in looks}
    assert sum(wish.flight == flight for wish in wishes) == 1


async def test_frames_come_as_they_are_added(cache: CacheStore, key: str) -> None:
    flight = await led(cache, key)
    assert await cache.append(key, flight, [b"a", b"b"], LEASE_MS)
    reading = [asyncio.create_task(read_all(cache, key, flight)) for _ in range(3)]
    await asyncio.sleep(0)
    assert await cache.append(key, flight, [], LEASE_MS)
    assert await cache.append(key, flight, [b"c"], LEASE_MS)
    assert await cache.append(key, flight, [b"d"], LEASE_MS, last=True)
    assert await asyncio.gather(*reading) == [([b"a", b"b", b"c", b"d"], "ended")] * 3
    assert not await cache.append(key, flight, [b"e"], LEASE_MS)
    assert await read_all(cache, key, flight) == ([b"a", b"b", b"c", b"d"], "ended")  # for a while


async def test_what_is_given_up_is_lost_and_somebody_leads_anew(cache: CacheStore, key: str) -> None:
    flight = await led(cache, key)
    await cache.append(key, flight, [b"a"], LEASE_MS)
    await cache.release(key, "another")
    reading = asyncio.create_task(read_all(cache, key, flight))
    await cache.release(key, flight)
    assert await reading == ([b"a"], "lost")
    assert not await cache.append(key, flight, [b"b"], LEASE_MS)
    assert await led(cache, key) != flight
    assert (await cache.read(key, "never", 0, 1000)).state == "lost"


async def test_an_ended_flight_is_not_joined(cache: CacheStore, key: str) -> None:
    flight = await led(cache, key)
    await cache.append(key, flight, [b"a"], LEASE_MS, last=True)
    assert await led(cache, key) != flight


async def test_who_waits_for_frames_follows(cache: CacheStore, key: str) -> None:
    flight = await led(cache, key)
    assert not await cache.is_followed(key, flight)
    reading = asyncio.create_task(cache.read(key, flight, 0, 5000))
    async with asyncio.timeout(5):
        while not await cache.is_followed(key, flight):
            await asyncio.sleep(0)
    reading.cancel()
