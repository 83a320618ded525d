"""Which requests are renewed, when, and what a failure costs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from gateway.metering.renewal import EVERY_S, RETRY_S, Renewals
from gateway.store.errors import StoreAway
from tests.unit.metering.made import KEY, OTHER_KEY


@dataclass
class Store:
    error: Exception | None = None
    live: int = 3
    renewed: list[dict[str, list[str]]] = field(default_factory=list)
    beats: list[str] = field(default_factory=list)

    async def renew(self, process: str, calls: Mapping[str, Sequence[str]]) -> int:  # noqa: ARG002  # the port's signature
        self.renewed.append({key: list(ids) for key, ids in calls.items()})
        return sum(map(len, calls.values()))

    async def beat(self, process: str) -> int:
        if self.error is not None:
            raise self.error
        self.beats.append(process)
        return self.live


@dataclass
class Pauses:
    """Sleeps that take no time, so many of them; then for ever."""

    left: int
    asked: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await (asyncio.sleep(0) if len(self.asked) < self.left else asyncio.Event().wait())


@pytest.fixture
def store():
    return Store()


async def test_open_requests_are_renewed_by_key_in_one_call(store):
    renewals = Renewals(store, "w1")
    for request_id, key_id in (("a", KEY), ("b", OTHER_KEY), ("c", KEY), ("d", KEY)):
        renewals.open[request_id] = key_id
    del renewals.open["d"]
    assert renewals.count == 3
    assert await renewals.renew()
    assert store.renewed == [{KEY: ["a", "c"], OTHER_KEY: ["b"]}]


async def test_an_idle_process_tells_that_it_lives_all_the_same(store):
    renewals = Renewals(store, "w1")
    assert renewals.live_processes == 1
    assert await renewals.renew()
    assert store.renewed == []
    assert store.beats == ["w1"]
    assert renewals.live_processes == 3


async def test_live_processes_are_those_last_seen_and_at_least_this_one(store):
    renewals = Renewals(store, "w1")
    await renewals.renew()
    store.error = StoreAway("gone")
    assert not await renewals.renew()
    assert renewals.live_processes == 3
    store.error, store.live = None, 0
    await renewals.renew()
    assert renewals.live_processes == 1


async def run(renewals: Renewals, pauses: Pauses) -> None:
    task = asyncio.create_task(renewals.run())
    while len(pauses.asked) < pauses.left:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_first_renewal_is_at_once_then_each_third_of_a_lease(store):
    pauses = Pauses(3)
    await run(Renewals(store, "w1", sleep=pauses.sleep), pauses)
    assert len(store.beats) == 3
    assert pauses.asked == [EVERY_S] * 3


async def test_after_a_failure_it_is_tried_again_soon_and_counted(store):
    store.error = StoreAway("gone")
    pauses, errors = Pauses(2), []
    await run(Renewals(store, "w1", sleep=pauses.sleep, on_error=errors.append), pauses)
    assert pauses.asked == [RETRY_S, RETRY_S]
    assert errors == ["renew", "renew"]


async def test_a_bug_does_not_end_the_renewing(store):
    store.error = KeyError("a bug")
    pauses = Pauses(2)
    with capture_logs() as logs:
        await run(Renewals(store, "w1", sleep=pauses.sleep), pauses)
    assert [line["event"] for line in logs] == ["renewing failed"] * 2
