"""The counters held to the ledger: what differs is found and set right, and nothing else is touched."""

import asyncio
import itertools
import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.store.client import Store
from gateway.store.keys import key_period, ledger, repair, usage_of_day, usage_of_hour
from tests.integration.control.running import RunningControl
from tests.integration.usage.records import DAY, HOUR, KEY_A, KEY_B, KEY_C, Book, today

MODEL = "ft:gpt-4o:acme::x"


@pytest.fixture
def book(store: Store) -> Book:
    return Book(store)


async def audit(control: RunningControl, *, repairs: bool = False) -> tuple[list[dict[str, Any]], Any]:
    """The differences that an audit tells of, and its last line."""
    response = await control.http.post("/admin/v1/ledger/audit", json={"repair": repairs})
    assert response.status_code == 200, response.text
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["object"] for line in lines].count("ledger.audit.shard") == 64
    assert lines[-1]["object"] == "ledger.audit", lines[-1]
    return [line for line in lines if line["object"] == "ledger.audit.difference"], lines[-1]


def name_of(at: float, form: str) -> str:
    return datetime.fromtimestamp(at, UTC).strftime(form)


def field(metric: str, *, key: str = KEY_A, model: str = MODEL) -> str:
    return f"{key}\x1fsupport\x1f{model}\x1fa\x1fsupport@1/stable\x1f\x1f{metric}"


async def dump(store: Store) -> dict[str, dict[bytes, bytes]]:
    """Every counter that an audit may set, without those that are 0."""
    found = {}
    for pattern in ("{s*}:use:*", "{s*}:acct:*:*"):
        for key in await store.call("KEYS", pattern):
            flat = await store.call("HGETALL", key)
            found[key.decode()] = {
                name: figure for name, figure in zip(flat[::2], flat[1::2], strict=True) if figure != b"0"
            }
    return {key: counters for key, counters in found.items() if counters}


async def test_where_all_is_well_nothing_differs(control: RunningControl, book: Book, store: Store) -> None:
    for number in range(30):
        await book.settle(
            today() - number * 7 * HOUR,
            key=(KEY_A, KEY_B, KEY_C)[number % 3],
            cost_nanousd=None if number % 4 == 0 else number,
        )
    await book.settle(today() - 450 * DAY)  # its hours have expired
    await store.call("DEL", usage_of_hour("07", name_of(today() - 450 * DAY, "%Y%m%d%H")))
    await book.settle(request_id="r", state="orphaned", cost_nanousd=None, model=None)
    await book.settle(request_id="r", state="exact", cost_nanousd=5, expect="corrected")
    # What upstreams and clients may make of it: figures that nobody can add, and a name with a separator.
    await book.settle(model="a\x1fb\x00\n,é", prompt_tokens=-5, completion_tokens=10**30)
    differences, last = await audit(control)
    assert differences == []
    assert (last["events"], last["differences"], last["repaired"], last["not_compared"]) == (34, 0, 0, [])
    assert last["counters"] > 300


async def test_every_kind_of_difference_is_told_and_repaired(
    control: RunningControl, book: Book, store: Store
) -> None:
    yesterday = today() - DAY + 7 * HOUR
    await book.settle(yesterday)
    await book.settle(yesterday, key=KEY_B)
    whole = await dump(store)
    day, hour = name_of(yesterday, "%Y%m%d"), name_of(yesterday, "%Y%m%d%H")
    of_day, of_hour = usage_of_day("07", day), usage_of_hour("07", hour)
    # Too high, too low, missing; of a name nobody has; where nothing was used; of a key's day and month.
    await store.call("HINCRBY", of_day, field("cost_nanousd"), 7)
    await store.call("HINCRBY", of_day, field("prompt_tokens"), -60)
    await store.call("HDEL", of_day, field("requests", key=KEY_B))
    await store.call("HSET", of_day, field("requests", model="nobody's"), 3)
    await store.call("DEL", of_hour)
    await store.call("HSET", usage_of_day("07", name_of(today() - 99 * DAY, "%Y%m%d")), field("errors"), 1)
    await store.call("HINCRBY", key_period(KEY_A, day), "cost_nanousd", 9)
    await store.call("HSET", key_period("07nothingyet", day[:6]), "requests", 2)
    await store.call("HINCRBY", key_period(KEY_A, day), "held", 11)  # no sum of records: none of its business
    await store.call("ZADD", "keys:index", 1, "07nothingyet")
    broken = await dump(store)

    differences, last = await audit(control)
    told = {
        (line["of"], line["time"], line["key"], line["model"], line["metric"]): (
            line["counter"],
            line["ledger"],
        )
        for line in differences
        if not line["time"].endswith("Z")
    }
    iso = name_of(yesterday, "%Y-%m-%d")
    assert told == {
        ("usage", iso, KEY_A, MODEL, "cost_nanousd"): (1_000_008, 1_000_001),
        ("usage", iso, KEY_A, MODEL, "prompt_tokens"): (40, 100),
        ("usage", iso, KEY_B, MODEL, "requests"): (0, 1),
        ("usage", iso, KEY_A, "nobody's", "requests"): (3, 0),
        ("usage", name_of(today() - 99 * DAY, "%Y-%m-%d"), KEY_A, MODEL, "errors"): (1, 0),
        ("key", iso, KEY_A, None, "cost_nanousd"): (1_000_010, 1_000_001),
        ("key", iso[:7], "07nothingyet", None, "requests"): (2, 0),
    }
    hours = [line for line in differences if line["time"].endswith("Z")]
    assert len(hours) == 2 * 6  # figures that are not 0, of two keys
    assert {line["counter"] for line in hours} == {0}
    assert not any(line["repaired"] for line in differences)
    assert (last["differences"], last["repaired"], last["not_compared"]) == (len(differences), 0, [])
    assert await dump(store) == broken  # who only looks changes nothing

    repaired, last = await audit(control, repairs=True)
    assert [{**line, "repaired": False} for line in repaired] == differences
    assert all(line["repaired"] for line in repaired)
    assert last["repaired"] == len(differences)
    whole[key_period(KEY_A, day)][b"held"] = b"11"
    assert await dump(store) == whole
    assert 399 * DAY < await store.call("TTL", of_hour) <= 400 * DAY
    assert (await audit(control))[1]["differences"] == 0
    page = await control.call("GET", "/usage?group_by=model&from=0")
    assert [(row["model"], row["requests"]) for row in page["data"]] == [(MODEL, 2)]  # no rows of zeros


async def test_an_audit_during_settlement_tells_no_lie(
    control: RunningControl, book: Book, store: Store
) -> None:
    draw = random.Random(5)  # noqa: S311  # no secret
    planted = usage_of_day("07", name_of(today(), "%Y%m%d"))
    is_over = False

    async def settle_on(writer: int) -> None:
        for number in itertools.takewhile(lambda _: not is_over, itertools.count()):
            call: dict[str, Any] = {"at": today() + 1, "request_id": f"{writer}-{number}"}
            key, cost = draw.choice((KEY_A, KEY_B, KEY_C)), draw.choice((None, 3, 10**9))
            state = draw.choice(("exact", "estimated"))
            await book.settle(**call, key=key, state=state, cost_nanousd=cost)
            if state == "estimated":
                await book.settle(**call, key=key, cost_nanousd=4, expect="corrected")

    settling = [asyncio.create_task(settle_on(writer)) for writer in range(4)]
    try:
        for _ in range(3):
            before = len(book.written)
            differences, last = await audit(control)
            assert differences == []
            assert len(book.written) > before, "nothing was settled meanwhile"
            assert last["events"] > 0
        for amount in (7, -100, 10**6):
            await store.call("HINCRBY", planted, field("cost_nanousd"), amount)
            differences, _ = await audit(control, repairs=True)
            assert [line["counter"] - line["ledger"] for line in differences] == [amount]
    finally:
        is_over = True
        await asyncio.gather(*settling)
    differences, last = await audit(control)
    assert (differences, last["events"]) == ([], len(book.written))


async def test_what_is_gone_is_named_and_never_set_to_nothing(
    control: RunningControl, book: Book, store: Store
) -> None:
    old, new = today() - 3 * DAY, today() - DAY
    await book.settle(old, key=KEY_A)
    await book.settle(old, key=KEY_C)
    await book.settle(new, key=KEY_A)
    # Records as if they had been settled when their calls came, and retention has passed in one shard since.
    raw = [fields for _, fields in await store.call("XRANGE", ledger("07"), "-", "+")]
    await store.call("DEL", ledger("07"))
    for at, fields in zip((old, new), raw, strict=True):
        await store.call("XADD", ledger("07"), f"{at * 1000}-1", *fields)
    assert await store.call("XTRIM", ledger("07"), "MINID", (old + HOUR) * 1000) == 1
    before = await dump(store)
    differences, last = await audit(control, repairs=True)
    # KEY_A's day is gone, and so is the day in which retention ends; KEY_C's shard has all its records.
    assert differences == []
    assert name_of(old, "%Y-%m-%d") in last["not_compared"]
    assert await dump(store) == before
    # A counter of a day that is whole is still held to its records.
    await store.call("HINCRBY", usage_of_day("07", name_of(today(), "%Y%m%d")), field("requests"), 5)
    differences, _ = await audit(control, repairs=True)
    assert [(line["counter"], line["ledger"]) for line in differences] == [(5, 0)]
    assert await dump(store) == before


@pytest.mark.parametrize("how", ["DEL", "XTRIM"])
async def test_counters_without_a_ledger_are_left_as_they_are(
    control: RunningControl, book: Book, store: Store, how: str
) -> None:
    await book.settle(today() - 2 * DAY)
    await store.call(how, ledger("07"), *(("MAXLEN", 0) if how == "XTRIM" else ()))
    before = await dump(store)
    differences, last = await audit(control, repairs=True)
    assert (differences, await dump(store)) == ([], before)
    assert name_of(today() - 2 * DAY, "%Y-%m-%d") in last["not_compared"]


async def test_two_repairs_do_not_meet(control: RunningControl, book: Book, store: Store) -> None:
    await book.settle()
    await store.call("HINCRBY", usage_of_day("07", name_of(today(), "%Y%m%d")), field("requests"), 5)
    await store.call("SET", repair("07"), "somebody else's", "PX", 60_000)
    broken = await dump(store)
    response = await control.http.post("/admin/v1/ledger/audit", json={"repair": True})
    last = json.loads(response.text.splitlines()[-1])
    assert "Another audit repairs" in last["error"]["message"]
    assert await dump(store) == broken
    await store.call("DEL", repair("07"))
    both = await asyncio.gather(audit(control), audit(control, repairs=True))
    assert both[1][1]["repaired"] == 1
    assert (await audit(control))[0] == []
