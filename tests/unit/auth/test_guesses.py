"""Who waits, who does not, in which order, and how much is remembered."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.auth import guesses
from gateway.auth.guesses import FREE, FREE_ALL, MAX_WAITING_EACH, Guesses
from gateway.domain.errors import Overloaded

ATTACKER, NEIGHBOUR = ("192.0.2.1", 1), ("192.0.2.2", 1)


class Bench:
    """Guesses, their time, and how many had to wait."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slowed = 0
        self.guesses = Guesses(lambda: self.now, self._count)

    def _count(self) -> None:
        self.slowed += 1

    def fail(self, times: float, client: tuple[str, int] = ATTACKER) -> None:
        for _ in range(int(times)):
            self.guesses.failed(client)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(guesses, "TURN_S", 0)
    return Bench()


async def test_a_few_wrong_keys_slow_nobody(bench: Bench) -> None:
    bench.fail(FREE - 1)
    await bench.guesses.turn(ATTACKER)
    assert bench.slowed == 0


async def test_many_slow_their_address_and_no_other_one(bench: Bench) -> None:
    bench.fail(FREE)
    await bench.guesses.turn(NEIGHBOUR)
    assert bench.slowed == 0
    await bench.guesses.turn(ATTACKER)
    assert bench.slowed == 1


async def test_they_are_forgotten_with_time(bench: Bench) -> None:
    bench.fail(FREE)
    bench.now += 3.1
    await bench.guesses.turn(ATTACKER)
    assert bench.slowed == 0


async def test_many_from_everywhere_slow_all_the_calmest_address_first(bench: Bench) -> None:
    for n in range(int(FREE_ALL)):
        bench.fail(1, (f"198.51.{n // 250}.{n % 250}", 1))
    bench.fail(FREE)
    order: list[str] = []

    async def turn(client: tuple[str, int]) -> None:
        await bench.guesses.turn(client)
        order.append(client[0])

    async with asyncio.timeout(5):
        await asyncio.gather(*(turn(ATTACKER) for _ in range(30)), turn(NEIGHBOUR))
    assert order[0] == NEIGHBOUR[0]
    assert bench.slowed == 31


async def test_the_pace_is_fixed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    real = loop.call_later

    def at_once(delay: float, *rest: Any) -> asyncio.TimerHandle:
        waits.append(delay)
        return real(0, *rest)

    monkeypatch.setattr(loop, "call_later", at_once, raising=False)
    bench.fail(FREE)
    await asyncio.gather(*(bench.guesses.turn(ATTACKER) for _ in range(100)))
    assert waits == [guesses.TURN_S] * (100 // guesses.PER_TURN)


async def test_a_guesser_among_good_ones_waits_like_them(bench: Bench) -> None:
    """Who shares an address with a guesser comes up in the order of coming."""
    bench.fail(FREE)
    done: list[int] = []

    async def turn(n: int) -> None:
        await bench.guesses.turn(ATTACKER)
        done.append(n)
        bench.fail(1)

    await asyncio.gather(*(turn(n) for n in range(50)))
    assert done == sorted(done)


async def test_how_many_wait_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "TURN_S", 0.01)
    monkeypatch.setattr(guesses, "PER_TURN", 100)
    monkeypatch.setattr(guesses, "MAX_WAITING", 2 * MAX_WAITING_EACH)
    third = ("192.0.2.3", 1)
    for client in (ATTACKER, NEIGHBOUR, third):
        bench.fail(FREE, client)
    waiting = [
        asyncio.create_task(bench.guesses.turn(client))
        for client in (ATTACKER, NEIGHBOUR)
        for _ in range(MAX_WAITING_EACH)
    ]
    await asyncio.sleep(0)
    waiting[0].cancel()  # its caller leaves
    for client in (ATTACKER, third):
        with pytest.raises(Overloaded):
            await bench.guesses.turn(client)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(each, asyncio.CancelledError) for each in results) == 1
    await bench.guesses.turn(third)
    assert not bench.guesses._waiting
    assert not bench.guesses._queue


async def test_memory_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "MAX_ADDRESSES", 10)
    bench.fail(FREE)
    for n in range(100):
        bench.fail(1, (f"198.51.100.{n}", 1))
        bench.fail(1)  # who goes on is not forgotten for others
    assert len(bench.guesses._levels) == 10
    await bench.guesses.turn(ATTACKER)
    assert bench.slowed == 1


async def test_the_log_says_so_once_a_minute(bench: Bench) -> None:
    bench.fail(FREE)
    with capture_logs() as log:
        for _ in range(5):
            await bench.guesses.turn(ATTACKER)
        bench.now += 61
        bench.fail(FREE)
        await bench.guesses.turn(ATTACKER)
    assert [(line["address"], line["wrong_keys"]) for line in log] == [("192.0.2.1", 20), ("192.0.2.1", 20)]


async def test_nobody_waits_for_what_has_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "TURN_S", 600)
    bench.fail(FREE)
    waiting = asyncio.create_task(bench.guesses.turn(ATTACKER))
    await asyncio.sleep(0)
    bench.guesses.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
