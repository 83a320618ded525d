"""The ledgers of all shards as one sequence."""

import asyncio
import random

from gateway.store.client import Store
from gateway.store.keys import ledger
from gateway.store.usage import SHARDS
from gateway.store.usage_events import START, EventSequence, LedgerReader


async def write(store: Store, shard: str, number: int, at: str = "*") -> None:
    await store.call("XADD", ledger(shard), at, "t", "event", "r", str(number))


def numbers(events: list[object]) -> list[int]:
    return [int(event.record) for event in events]  # type: ignore[attr-defined]  # they are events


async def test_the_oldest_comes_first_over_all_shards(store: Store) -> None:
    draw = random.Random(7)  # noqa: S311  # no secret
    for number in range(1, 501):
        await write(store, draw.choice(SHARDS), number, f"{number * 10}-1")
    for count in (1, 3, 64, 1000):
        sequence = EventSequence(LedgerReader(store), dict.fromkeys(SHARDS, START))
        found = [number async for batch in sequence.batches(count) for number in numbers(batch)]
        assert found == list(range(1, 501))
        assert await sequence.is_over()


async def test_positions_go_on_where_they_were_left(store: Store) -> None:
    for number in range(1, 201):
        await write(store, SHARDS[number * 7 % 64], number, f"{number}-5")
    positions, found = dict.fromkeys(SHARDS, START), []
    for count in (1, 2, 50, 30, 100, 100):
        sequence = EventSequence(LedgerReader(store), positions)
        found += numbers(await sequence.take(count))
        positions = sequence.positions
    assert found == list(range(1, 201))


async def test_until_bounds_each_shard(store: Store) -> None:
    reader = LedgerReader(store)
    for number in range(5):
        await write(store, "03", number)
    await write(store, "09", 5)
    ends = await reader.ends()
    assert set(ends) == {"03", "09"}
    await write(store, "03", 6)
    await write(store, "11", 7)
    sequence = EventSequence(reader, dict.fromkeys(SHARDS, START), ends)
    assert sorted(numbers(await sequence.take(100))) == [0, 1, 2, 3, 4, 5]
    assert await sequence.is_over()


async def test_nothing_is_missed_or_met_twice_while_events_are_written(store: Store) -> None:
    total, written = 2000, 0
    draw = random.Random(11)  # noqa: S311  # no secret

    async def keep_writing() -> None:
        nonlocal written
        while written < total:
            some = [(ledger(draw.choice(SHARDS)), number) for number in range(written, written + 20)]
            await store.call_many(
                [("XADD", key, "*", "t", "event", "r", str(number)) for key, number in some]
            )
            written += 20

    writing = asyncio.create_task(keep_writing())
    positions, found = dict.fromkeys(SHARDS, START), []
    while len(found) < total:
        sequence = EventSequence(LedgerReader(store), positions)
        found += numbers(await sequence.take(draw.randint(1, 90)))
        positions = sequence.positions
        assert len(found) <= written + 20  # a write is seen before its writer is told
    await writing
    assert sorted(found) == list(range(total))


async def test_a_late_event_of_another_shard_is_not_missed(store: Store) -> None:
    await write(store, "01", 1, "1000-0")
    sequence = EventSequence(LedgerReader(store), dict.fromkeys(SHARDS, START))
    assert numbers(await sequence.take(10)) == [1]
    await write(store, "02", 2, "900-0")  # its server's clock is behind
    sequence = EventSequence(LedgerReader(store), sequence.positions)
    assert numbers(await sequence.take(10)) == [2]


async def test_what_was_trimmed_is_passed_over(store: Store) -> None:
    for number in range(10):
        await write(store, "01", number, f"{number + 1}-0")
    sequence = EventSequence(LedgerReader(store), dict.fromkeys(SHARDS, START))
    assert numbers(await sequence.take(2)) == [0, 1]
    await store.call("XTRIM", ledger("01"), "MINID", "6-0")
    sequence = EventSequence(LedgerReader(store), sequence.positions)
    assert numbers(await sequence.take(10)) == [5, 6, 7, 8, 9]
