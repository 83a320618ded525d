"""What one worker finds of an upstream reaches the others, of this replica and of others."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.control import advice
from gateway.store.client import Store
from gateway.store.health_repository import BELIEVED_S, FORGOTTEN_S, HealthRepository
from tests.integration.control.running import FakeWorker
from tests.support.polling import until

FOUND = {"set_aside": [0], "open": [1], "gone": ["ft:gpt-4.1:acme::gone"]}
WELL = {"set_aside": [], "open": [], "gone": []}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "EVERY_S", 0.02)


async def test_workers_of_a_replica_hear_of_each_other(start_control: Callable[..., Any]) -> None:
    control = await start_control()
    async with FakeWorker(control) as one, FakeWorker(control, index=1) as two:
        one.send(type="health", upstreams={"a": {"in_flight": 3} | FOUND, "b": {"in_flight": 1} | WELL})
        await until(lambda: two.advice, "advice")
        assert two.advice[-1] == {"a": FOUND}
        assert one.advice == []


async def test_replicas_hear_of_each_other_until_all_is_well(start_control: Callable[..., Any]) -> None:
    one, two = await start_control(), await start_control(runtime="two")
    async with FakeWorker(one) as finder, FakeWorker(two) as other:
        finder.send(type="health", upstreams={"a": {"in_flight": 0} | FOUND})
        await until(lambda: other.advice, "advice")
        assert other.advice[-1] == {"a": FOUND}
        finder.send(type="health", upstreams={"a": {"in_flight": 0} | WELL})
        await until(lambda: one.plane.link.workers[0].health["a"]["open"] == [], "the second report")
        heard = HealthRepository(two.plane._store, "third")
        for _ in range(200):
            if await heard.exchange({}) == []:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("it is still told")


async def test_one_that_fell_silent_is_not_believed_and_then_forgotten(store: Store) -> None:
    one, two = HealthRepository(store, "one"), HealthRepository(store, "two")
    await one.exchange({"a": FOUND})
    assert await two.exchange({}) == [{"a": FOUND}]
    assert await one.exchange({"a": FOUND}) == []
    for age_s, is_there in ((BELIEVED_S + 1, 1), (FORGOTTEN_S + 1, 0)):
        seconds, _ = await store.call("TIME")
        entry = f'{{"at":{int(seconds) - age_s},"upstreams":{{"a":{{}}}}}}'
        await store.call("HSET", "{catalog}:health", "one", entry)
        assert await two.exchange({}) == []
        assert await store.call("HEXISTS", "{catalog}:health", "one") == is_there
