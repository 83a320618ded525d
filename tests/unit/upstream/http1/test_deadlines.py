import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.upstream.http1.deadlines import Deadlines


class Clock:
    """The part of a loop that keeping time needs, with a hand to move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []
        self.wakeups = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], Any]) -> "Timer":
        timer = Timer(when, callback)
        self.timers.append(timer)
        return timer

    def move(self, to: float) -> None:
        while due := [timer for timer in self.timers if not timer.is_cancelled and timer.when <= to]:
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            self.wakeups += 1
            timer.callback()
        self.now = to

    @property
    def standing(self) -> list[float]:
        return [timer.when for timer in self.timers if not timer.is_cancelled]


class Timer:
    def __init__(self, when: float, callback: Callable[[], Any]) -> None:
        self.when = when
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Waiter:
    def __init__(self, *extensions: float) -> None:
        self.due_at = 0.0
        self.woken: list[float] = []
        self._extensions = list(extensions)

    def on_due(self, now: float) -> float | None:
        self.woken.append(now)
        return self._extensions.pop(0) if self._extensions else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deadlines(clock: Clock) -> Deadlines:
    return Deadlines(cast("asyncio.AbstractEventLoop", clock))


def test_a_waiter_is_woken_once_at_its_deadline(clock: Clock, deadlines: Deadlines) -> None:
    waiter = Waiter()
    deadlines.arm(waiter, 105)
    clock.move(104.9)
    assert waiter.woken == []
    clock.move(200)
    assert waiter.woken == [105]
    assert len(deadlines) == 0
    assert clock.standing == []


def test_an_earlier_deadline_moves_the_timer(clock: Clock, deadlines: Deadlines) -> None:
    late, early = Waiter(), Waiter()
    deadlines.arm(late, 160)
    deadlines.arm(early, 100.3)
    assert clock.standing == [100.3]
    clock.move(101)
    assert (early.woken, late.woken) == ([100.3], [])
    clock.move(160)
    assert late.woken == [160]


def test_a_waiter_that_was_disarmed_is_not_woken(clock: Clock, deadlines: Deadlines) -> None:
    waiter = Waiter()
    deadlines.arm(waiter, 105)
    deadlines.disarm(waiter)
    deadlines.disarm(waiter)
    clock.move(200)
    assert waiter.woken == []
    assert clock.standing == []


def test_a_waiter_may_put_its_deadline_off(clock: Clock, deadlines: Deadlines) -> None:
    waiter = Waiter(110, 115)
    deadlines.arm(waiter, 105)
    clock.move(200)
    assert waiter.woken == [105, 110, 115]


def test_many_short_waits_cost_few_wakeups(clock: Clock, deadlines: Deadlines) -> None:
    for n in range(10_000):
        waiter = Waiter()
        deadlines.arm(waiter, clock.now + 60)
        clock.move(100 + n * 0.01)
        deadlines.disarm(waiter)
    assert clock.wakeups <= 2


def test_deadlines_close_to_each_other_share_a_wakeup_and_are_hardly_late(
    clock: Clock, deadlines: Deadlines
) -> None:
    waiters = [Waiter() for _ in range(1000)]
    for n, waiter in enumerate(waiters):
        deadlines.arm(waiter, 101 + n * 0.001)
    clock.move(103)
    assert clock.wakeups <= 52
    assert all(0 <= waiter.woken[0] - waiter.due_at <= 0.021 for waiter in waiters)


def test_closing_forgets_everyone(clock: Clock, deadlines: Deadlines) -> None:
    waiter = Waiter()
    deadlines.arm(waiter, 105)
    deadlines.close()
    clock.move(200)
    assert waiter.woken == []
    assert len(deadlines) == 0
