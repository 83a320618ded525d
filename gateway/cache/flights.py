"""The flights that this process takes part in: those it leads, and those of other processes it follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from gateway.cache.flight import Flight
from gateway.cache.key import Keys
from gateway.cache.port import CacheStore
from gateway.cache.publisher import Publisher
from gateway.cache.remote import RemoteFlight

_CLOSE_S = 1.0


class Flights:
    """Keeps flights while they are in the air.

    Args:
        on_error: told that the store failed.
    """

    def __init__(self, store: CacheStore, on_error: Callable[[], None]) -> None:
        self._store = store
        self._on_error = on_error
        self._flights: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def publish(self, keys: Keys, cache_key: str, name: str, flight: Flight) -> Publisher:
        """Let others follow a flight that this process leads, until the publisher is told of its end."""
        publisher = Publisher(self._store, keys, cache_key, name, flight, self._on_error)
        self._keep(name, flight, publisher.run())
        return publisher

    def follow(
        self, keys: Keys, cache_key: str, name: str, keep_bytes: int, keepalive_s: float
    ) -> Flight | None:
        """A flight that is in the air; None where it cannot be joined from its beginning any more."""
        flight = self._flights.get(name)
        if flight is None:
            flight = Flight(keep_bytes)
            remote = RemoteFlight(self._store, keys, cache_key, name, flight, keepalive_s)
            self._keep(name, flight, remote.run())
        return flight if flight.is_whole and not flight.is_over else None

    async def aclose(self) -> None:
        """Let go of all flights; what is still in the air is lost to other processes."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)

    def _keep(self, name: str, flight: Flight, work: Coroutine[None, None, None]) -> None:
        self._flights[name] = flight
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._forget(name, flight))

    def _forget(self, name: str, flight: Flight) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]
