"""When a child is judged: by time, looks in a row, and pauses, without a process."""

import asyncio
import itertools
import os
import sys
from dataclasses import dataclass, field

import pytest

from gateway.supervisor.children import NotReady
from gateway.supervisor.spec import HealthSpec
from gateway.supervisor.vitals import Ceilings, Pulse
from gateway.supervisor.watch import LOOKS_OVER, Watch, _Place


@dataclass
class Process:
    pid: int = 7
    alive_s: float = 1.0
    exited: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(eq=False)
class Child:
    process: Process = field(default_factory=Process)
    pulse: Pulse = field(default_factory=Pulse)


@dataclass
class Keeper:
    """A place as the watch sees it, and what it was told to do."""

    child: Child | None
    name: str = "worker-0"
    is_retiring: bool = False
    fails: bool = False
    ended: list[Child] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    @property
    def children(self) -> list[Child]:
        return [] if self.child is None else [self.child]

    def end_unresponsive(self, child: Child) -> None:
        child.pulse.silent_s = None
        self.ended.append(child)

    async def replace(self, because: str, only: Child | None = None) -> None:
        assert only is self.child
        if self.fails:
            raise NotReady("no")
        self.replaced.append(because)


class Clock:
    """The loop's time, which only a sleep of the watch moves, by whatever comes next."""

    def __init__(self, passes: list[float]) -> None:
        self.now = 100.0
        self._passes = passes

    def time(self) -> float:
        return self.now

    async def sleep(self, _seconds: float) -> None:
        if not self._passes:
            raise asyncio.CancelledError
        self.now += self._passes.pop(0)


class Excess(Ceilings):
    """Finds every process over."""

    def over(self, pid: int) -> tuple[str, int, int] | None:
        return ("memory", 2, 1) if pid else None


async def looks(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, passes: list[float], health: HealthSpec
) -> None:
    watching = Watch([keeper], [], health)  # type: ignore[list-item]  # what it asks of one
    clock = Clock(passes)
    with monkeypatch.context() as patch:
        patch.setattr("gateway.supervisor.watch.asyncio.sleep", clock.sleep)
        patch.setattr(asyncio.get_running_loop(), "time", clock.time, raising=False)
        with pytest.raises(asyncio.CancelledError):
            await watching.run()


async def test_a_child_is_ended_after_so_much_silence_and_no_less(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(Child())
    assert keeper.child is not None
    health = HealthSpec(3, None, None)
    await looks(keeper, monkeypatch, [1] * 100, health)
    assert keeper.ended == []  # it never told that it lives, so nothing follows
    keeper.child.pulse.beat()
    await looks(keeper, monkeypatch, [1] * 3, health)
    keeper.child.pulse.beat()
    await looks(keeper, monkeypatch, [1] * 3, health)
    assert keeper.ended == []
    await looks(keeper, monkeypatch, [1] * 20, health)
    assert keeper.ended == [keeper.child]  # once


async def test_a_long_sleep_of_our_own_is_no_silence_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(Child())
    assert keeper.child is not None
    keeper.child.pulse.beat()
    await looks(keeper, monkeypatch, [3600.0], HealthSpec(3, None, None))
    assert keeper.ended == []


async def test_silence_may_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(Child())
    assert keeper.child is not None
    keeper.child.pulse.beat()
    await looks(keeper, monkeypatch, [1] * 100, HealthSpec(None, None, None))
    assert keeper.ended == []


async def test_only_what_stays_over_makes_way() -> None:
    keeper = Keeper(Child())
    place = _Place(keeper)  # type: ignore[arg-type]  # what it asks of one
    over, under = Excess(1, None), Ceilings(None, None)
    for _ in range(LOOKS_OVER - 1):
        assert not place.is_over(over, 0)
    assert not place.is_over(under, 0)
    for _ in range(LOOKS_OVER - 1):
        assert not place.is_over(over, 0)
    assert place.is_over(over, 0)


async def test_a_ceiling_below_the_need_is_no_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(Child())
    place = _Place(keeper)  # type: ignore[arg-type]  # what it asks of one
    clock = Clock([])
    clock.now = 0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock.time, raising=False)
    at = []
    for now in range(3600):
        clock.now = now
        if place.is_over(Excess(1, None), now):
            await place.make_way()
            at.append(now)
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert pauses[:6] == [60, 120, 240, 480, 600, 600]
    assert keeper.replaced == ["memory"] * len(at)


async def test_none_makes_way_while_one_before_it_still_retires_or_none_gets_ready() -> None:
    keeper = Keeper(Child(), is_retiring=True)
    place = _Place(keeper)  # type: ignore[arg-type]  # what it asks of one
    assert not any(place.is_over(Excess(1, None), 0) for _ in range(10))
    keeper.is_retiring, keeper.fails = False, True
    assert place.is_over(Excess(1, None), 0)
    await place.make_way()
    assert keeper.replaced == []
    keeper.child = None
    await place.make_way()


@pytest.mark.skipif(sys.platform != "linux", reason="ceilings are read from /proc, of Linux")
def test_ceilings_are_held_against_what_a_process_really_takes() -> None:
    pid = os.getpid()
    assert Ceilings(1 << 50, 1 << 30).over(pid) is None
    assert Ceilings(None, None).over(pid) is None
    memory = Ceilings(1 << 20, None).over(pid)
    assert memory is not None
    assert (memory[0], memory[2]) == ("memory", 1 << 20)
    assert 10 << 20 < memory[1] < 1 << 40
    files = Ceilings(None, 1).over(pid)
    assert files is not None
    assert files[0] == "open_files"
    assert abs(files[1] - len(os.listdir("/proc/self/fd"))) <= 2  # noqa: PTH208  # names alone are wanted


def test_a_process_that_is_gone_takes_nothing() -> None:
    assert Ceilings(1, 1).over(1 << 30) is None
