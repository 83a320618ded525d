"""The gate: the rule of places, held to a plain model, and how calls wait by it."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Overloaded
from gateway.gate import Gate, Places

STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "leave", "give up", "go"]), st.integers(0, 9)), max_size=60
)


@given(places=st.integers(1, 3), queue=st.integers(0, 3), steps=STEPS)
def test_places_are_a_list_of_holders_and_a_list_of_those_who_wait(
    places: int, queue: int, steps: list[tuple[str, int]]
) -> None:
    holders: list[int] = []
    waiting: list[int] = []
    gone: set[int] = set()
    let_in: list[int] = []

    def tell(waiter: int) -> bool:
        if waiter in gone:
            return False
        let_in.append(waiter)
        return True

    tested: Places[int] = Places(places, queue, tell)
    for number, (step, choice) in enumerate(steps):
        if step == "come":
            assert tested.take() == (len(holders) < places)
            if len(holders) < places:
                holders.append(number)
            else:
                assert tested.queue_up(number) == (len(waiting) < queue)
                waiting += [number] if len(waiting) < queue else []
        elif step == "leave" and holders:
            holders.pop(choice % len(holders))
            while waiting and waiting[0] in gone:
                waiting.pop(0)
            following = [waiting.pop(0)] if waiting else []
            let_in.clear()
            tested.leave()
            assert let_in == following
            holders += following
        elif step == "go" and waiting:
            gone.add(waiting[choice % len(waiting)])
        elif step == "give up" and waiting:
            leaver = waiting.pop(choice % len(waiting))
            assert tested.give_up(leaver)
            assert not tested.give_up(leaver)
        assert tested.waiting == len(waiting)


def gate(places: int = 1, queue: int = 2, timeout_s: float = 30) -> Gate:
    return Gate(asyncio.get_running_loop(), places, queue, timeout_s, draw=lambda: 0.5)


async def test_those_who_wait_come_in_by_their_order() -> None:
    tested = gate()
    order = []

    async def call(name: str) -> None:
        await tested.wait()
        order.append(name)
        tested.leave()

    assert tested.enter()
    async with asyncio.TaskGroup() as calls:
        calls.create_task(call("first"))
        calls.create_task(call("second"))
        await asyncio.sleep(0)
        assert not tested.enter()
        assert order == []
        tested.leave()

    assert order == ["first", "second"]
    assert tested.enter()


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    tested = gate(queue=0)
    assert tested.enter()
    began = time.perf_counter()

    with pytest.raises(Overloaded) as refusal:
        await tested.wait()

    assert time.perf_counter() - began < 0.01
    assert refusal.value.retry_after_s == 2.0


async def test_waiting_ends_at_the_deadline_and_costs_no_place() -> None:
    tested = gate(timeout_s=0.01)
    assert tested.enter()

    with pytest.raises(Overloaded, match=r"0\.01 seconds"):
        await tested.wait()

    assert tested.waiting == 0
    tested.leave()
    assert tested.enter()


@pytest.mark.parametrize("moment", ["while it waits", "after its place came", "before its place came"])
async def test_one_that_leaves_while_it_waits_frees_its_place(moment: str) -> None:
    tested = gate()
    assert tested.enter()
    leaver = asyncio.create_task(tested.wait())
    await asyncio.sleep(0)

    if moment == "after its place came":
        tested.leave()
        leaver.cancel()
    elif moment == "before its place came":
        leaver.cancel()
        tested.leave()
    else:
        leaver.cancel()
        await asyncio.sleep(0)
        tested.leave()
    await asyncio.gather(leaver, return_exceptions=True)

    assert leaver.cancelled()
    assert tested.waiting == 0
    assert tested.enter()
    assert not tested.enter()
