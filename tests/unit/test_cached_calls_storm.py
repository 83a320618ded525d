"""Flights in a storm: clients leave, leaders die, the store goes away at any moment; everyone gets an end."""

import asyncio
from random import Random

import pytest

from gateway.domain.errors import Draining, StreamBroken, UpstreamRejected, UpstreamsFailed
from tests.support.cache_store import MemoryCacheStore
from tests.unit.cached_kit import HELLO, Request, Step, Upstream, Worker

SHOWN = b"".join(HELLO[:-1])
PATIENCE_S = 10


class Storm:
    """One course of events, all of it by the seed."""

    def __init__(self, seed: int) -> None:
        self._draw = Random(seed)  # noqa: S311  # no secret: a run can be repeated
        self._gates = [asyncio.Event() for _ in range(3)]
        self.store = MemoryCacheStore()
        upstream = Upstream(*self._steps())
        self.workers = [Worker(self.store, upstream) for _ in range(3)]
        self.requests: list[Request] = []

    async def play(self) -> None:
        """Begin requests, let things happen between the steps of the upstream, wait for all to end."""
        for _ in range(self._draw.randint(2, 12)):
            self._ask()
        for gate in self._gates:
            for _ in range(self._draw.randint(0, 4)):
                await self._wait()
                self._draw.choice(
                    (self._leave, self._leave, self._cancel, self._ask, self._kill, self._away)
                )()
            await self._wait()
            gate.set()
        await self._wait()
        if self.store.is_away:
            self.store.is_away = False
            self.store.kill()  # the leases that nobody could renew
        tasks = [request.task for request in self.requests]
        _, hanging = await asyncio.wait(tasks, timeout=PATIENCE_S)
        assert not hanging
        for worker in self.workers:
            await worker.calls.aclose()

    def _steps(self) -> list[Step]:
        first, second, third = self._gates
        courses: list[list[Step]] = [
            [first, *HELLO[:2], second, *HELLO[2:], third],
            [first, *HELLO[:2], second, StreamBroken("stream_truncated", "cut")],
            [first, UpstreamsFailed("All failed.")],
            [first, UpstreamRejected(400, {"message": "Bad."})],
        ]
        return self._draw.choice(courses)

    def _ask(self) -> None:
        self.requests.append(self._draw.choice(self.workers).asks(stream=True))

    def _leave(self) -> None:
        reader = self._draw.choice(self.requests).client.reader
        if reader is not None:
            reader.client_gone()

    def _cancel(self) -> None:
        request = self._draw.choice(self.requests)
        if request.client.answer is None:  # as the pipeline does for a client that leaves so early
            request.task.cancel()

    def _kill(self) -> None:
        self.store.kill()

    def _away(self) -> None:
        self.store.is_away = not self.store.is_away
        if not self.store.is_away:
            self.store.kill()

    async def _wait(self) -> None:
        for _ in range(self._draw.randint(0, 60)):
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(60))
async def test_everyone_gets_an_end(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cache.publisher._GAP_S", 0.0)
    monkeypatch.setattr("gateway.cache.lead._ASK_EVERY_S", 0.0)
    storm = Storm(seed)
    await storm.play()

    for request in storm.requests:
        error = None if request.task.cancelled() else request.task.exception()
        assert error is None or isinstance(error, UpstreamsFailed | UpstreamRejected | Draining)
        client = request.client
        if client.is_finished and client.error is None:
            assert client.events == SHOWN
        elif client.error is not None:
            assert SHOWN.startswith(client.events)
