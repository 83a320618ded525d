"""A flight that another process leads: what its leader leaves in the store comes out of it here."""

from __future__ import annotations

import asyncio

import msgspec

from gateway.cache.flight import Flight
from gateway.cache.frames import Frame
from gateway.cache.key import Keys
from gateway.cache.port import CacheAway, CacheStore
from gateway.domain.errors import UpstreamRejected

_WAIT_MS = 1000


class FlightLost(Exception):
    """The leader is gone, or what it left cannot be read."""


class RemoteFlight:
    """Reads a flight along; the source of the `Flight` of this process, which it fills.

    Args:
        name: of the flight.
        keepalive_s: how often those who stream are told that the connection is alive, where nothing comes.
    """

    def __init__(
        self,
        store: CacheStore,
        keys: Keys,
        cache_key: str,
        name: str,
        flight: Flight,
        keepalive_s: float,
    ) -> None:
        self._store = store
        self._keys = keys
        self._cache_key = cache_key
        self._name = name
        self._flight = flight
        self._keepalive_s = keepalive_s
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._task: asyncio.Task[None] | None = None
        self._frames = 0
        flight.source = self

    def pause(self) -> None:
        """Everyone lags."""
        self._may_read.clear()

    def resume(self) -> None:
        """Read on."""
        self._may_read.set()

    def abandoned(self) -> None:
        """Nobody of this process reads any more: whoever comes next begins anew."""
        self._flight.fail(FlightLost())
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Read until the end. Never raises but when cancelled; the flight is over then."""
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        last_at = loop.time()
        try:
            while not self._flight.is_over:
                await self._may_read.wait()
                if await self._read():
                    last_at = loop.time()
                elif loop.time() - last_at >= self._keepalive_s:
                    self._flight.write(b": keep-alive\n\n")
                    last_at = loop.time()
        except CacheAway:
            pass  # nobody will know how it goes on
        finally:
            self._flight.fail(FlightLost())

    async def _read(self) -> bool:
        """Read once; whether anything came."""
        part = await self._store.read(self._cache_key, self._name, self._frames, _WAIT_MS)
        for sealed in part.frames:
            frame = Frame.decode(self._keys, self._cache_key, self._name, self._frames, sealed)
            if frame is None:
                self._flight.fail(FlightLost())
                return False
            self._frames += 1
            self._take(frame)
        if part.state != "open":
            self._flight.fail(FlightLost())  # nothing, where the end has come
        return bool(part.frames)

    def _take(self, frame: Frame) -> None:
        flight = self._flight
        if frame.rejection is not None:
            body = msgspec.json.decode(frame.rejection.body, type=dict[str, object])
            flight.fail(UpstreamRejected(frame.rejection.status, body))
            return
        if frame.head is not None:
            flight.open(frame.head)
        if flight.head is not None and flight.head.kind == "json":
            for part in frame.parts:
                flight.body(part)
        else:
            flight.write(b"".join(frame.parts))
        if frame.tail is not None:
            flight.close(frame.tail)
