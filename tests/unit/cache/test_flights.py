"""Which flights of this process can be joined."""

import asyncio

import pytest

from gateway.cache.flight import Flight, Head, Tail
from gateway.cache.flights import Flights
from gateway.cache.key import Keys
from gateway.cache.port import Generations, Purged, Ticket
from tests.support.cache_store import MemoryCacheStore
from tests.support.fake_upstream import text

KEYS = Keys(b"secret")
HEAD = Head("stream", "gpt", "openai")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryCacheStore:
    monkeypatch.setattr("gateway.cache.publisher._GAP_S", 0.0)
    return MemoryCacheStore(generation=Generations())


async def published(store: MemoryCacheStore, flights: Flights, flight: Flight) -> None:
    """Begin the flight `f` of the key `k`."""
    await store.look(Purged("", ""), "k", Ticket("f", 1000))
    flights.publish(KEYS, "k", "f", flight)


async def test_one_that_this_process_leads_is_joined_here(store: MemoryCacheStore) -> None:
    flights, flight = Flights(store, lambda: None), Flight(0)
    await published(store, flights, flight)
    flight.open(HEAD)

    assert flights.follow(KEYS, "k", "f", 0, 15.0) is flight
    await flights.aclose()


async def test_one_that_is_over_is_not(store: MemoryCacheStore) -> None:
    flights, flight = Flights(store, lambda: None), Flight(0)
    await published(store, flights, flight)
    flight.open(HEAD)
    flight.close(Tail())

    assert flights.follow(KEYS, "k", "f", 0, 15.0) is None
    await flights.aclose()


async def test_nor_one_that_is_not_kept_from_its_beginning(store: MemoryCacheStore) -> None:
    flights, flight = Flights(store, lambda: None), Flight(0)
    await published(store, flights, flight)
    flight.open(HEAD)
    for _ in range(5):
        flight.write(text("x" * 300_000))
        await asyncio.sleep(0.005)  # so much is published
    assert not flight.is_whole

    assert flights.follow(KEYS, "k", "f", 0, 15.0) is None
    await flights.aclose()


async def test_followers_of_another_process_share_one_reader(store: MemoryCacheStore) -> None:
    here, there = Flights(store, lambda: None), Flights(store, lambda: None)
    flight = Flight(0)
    await published(store, here, flight)
    one, other = (there.follow(KEYS, "k", "f", 0, 15.0) for _ in range(2))

    assert one is other
    assert one is not flight
    await here.aclose()
    await there.aclose()


async def test_a_body_that_is_very_long_is_not_published(store: MemoryCacheStore) -> None:
    flights, flight = Flights(store, lambda: None), Flight(0)
    await store.look(Purged("", ""), "k", Ticket("f", 1000))
    publisher = flights.publish(KEYS, "k", "f", flight)
    flight.open(Head("json", "gpt", "openai"))
    flight.body(b"x" * (5 << 20))
    await publisher.end(Tail())

    assert (await store.read("k", "f", 0, 0)).state == "lost"
    assert store.in_the_air == 0
    await flights.aclose()
