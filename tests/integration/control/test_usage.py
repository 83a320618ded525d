"""Usage by group, from counters that settlements moved."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.store.client import Store
from tests.integration.control.running import RunningControl
from tests.integration.usage.records import DAY, HOUR, KEY_A, KEY_B, KEY_C, Book, today


@pytest.fixture
def book(store: Store) -> Book:
    return Book(store)


def iso(seconds: float, form: str = "%Y-%m-%d") -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def of(page: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in page["data"]]


async def fill(book: Book) -> None:
    day = today()
    await book.settle(day - 2 * DAY + 5, model="m")
    await book.settle(day - 2 * DAY + 6, model="m", key=KEY_B, team="x", error_type="timeout")
    await book.settle(day - DAY + 7 * HOUR, model="n", key=KEY_C, alias=None, release=None, cost_nanousd=None)
    await book.settle(day, model="m", cache="hit", cost_nanousd=0, saved_nanousd=7)
    await book.settle(day - 40 * DAY, model="old")


async def test_the_total_of_the_last_thirty_days(control: RunningControl, book: Book) -> None:
    await fill(book)
    page = await control.call("GET", "/usage")
    assert page == {
        "object": "list",
        "has_more": False,
        "next": None,
        "from": today() - 29 * DAY,
        "to": today() + DAY,
        "data": [
            {
                "object": "usage",
                "requests": 4,
                "errors": 1,
                "cache_hits": 1,
                "prompt_tokens": 400,
                "cached_tokens": 160,
                "completion_tokens": 40,
                "reasoning_tokens": 12,
                "cost_nanousd": 2_000_002,
                "cost_usd": "0.002000002",
                "saved_nanousd": 7,
                "saved_usd": "0.000000007",
                "unpriced_requests": 1,
            }
        ],
    }


async def test_without_any_usage_the_total_is_zero_and_groups_are_none(control: RunningControl) -> None:
    (row,) = (await control.call("GET", "/usage"))["data"]
    assert (row["requests"], row["cost_nanousd"], row["cost_usd"]) == (0, 0, "0")
    assert (await control.call("GET", "/usage?group_by=key"))["data"] == []


async def test_groups_filters_and_nulls(control: RunningControl, book: Book) -> None:
    await fill(book)
    page = await control.call("GET", "/usage?group_by=model,key")
    assert of(page, "model", "key", "requests") == [("m", KEY_A, 2), ("m", KEY_B, 1), ("n", KEY_C, 1)]
    unpriced = page["data"][2]
    assert (unpriced["cost_nanousd"], unpriced["cost_usd"], unpriced["unpriced_requests"]) == (None, None, 1)
    page = await control.call("GET", "/usage?group_by=alias&group_by=release&group_by=team")
    assert of(page, "alias", "release", "team", "requests") == [
        (None, None, None, 1),
        ("support", "support@1/stable", None, 2),
        ("support", "support@1/stable", "x", 1),
    ]
    page = await control.call("GET", f"/usage?group_by=upstream&key={KEY_A}&key={KEY_B}&model[]=m")
    assert of(page, "upstream", "requests") == [("a", 3)]
    assert of(await control.call("GET", f"/usage?key={KEY_C}"), "requests") == [(1,)]
    assert of(await control.call("GET", "/usage?key=nobody"), "requests") == [(0,)]
    assert of(await control.call("GET", "/usage?team=x&alias=other"), "requests") == [(0,)]


async def test_days_and_hours(control: RunningControl, book: Book) -> None:
    await fill(book)
    day = today()
    page = await control.call("GET", "/usage?group_by=day,model")
    assert of(page, "day", "model", "requests", "starts_at") == [
        (iso(day - 2 * DAY), "m", 2, day - 2 * DAY),
        (iso(day - DAY), "n", 1, day - DAY),
        (iso(day), "m", 1, day),
    ]
    page = await control.call("GET", f"/usage?group_by=hour&from={day - DAY}&to={day}")
    assert of(page, "hour", "requests", "starts_at") == [
        (iso(day - DAY, "%Y-%m-%dT07:00:00Z"), 1, day - DAY + 7 * HOUR)
    ]
    page = await control.call("GET", f"/usage?group_by=model,day,hour&model=m&to={day}")
    assert of(page, "model", "day", "hour") == [
        ("m", iso(day - 2 * DAY), iso(day - 2 * DAY, "%Y-%m-%dT00:00:00Z"))
    ]


async def test_a_period_has_its_begin_and_not_its_end(control: RunningControl, book: Book) -> None:
    day = today()
    for at in (day - DAY + 9 * HOUR - 0.001, day - DAY + 9 * HOUR, day - DAY + 10 * HOUR):
        await book.settle(at)
    nine, ten = iso(day - DAY, "%Y-%m-%dT09:00:00Z"), iso(day - DAY, "%Y-%m-%dT10:00:00Z")
    page = await control.call("GET", f"/usage?from={nine}&to={ten}")
    assert (page["from"], page["to"]) == (day - DAY + 9 * HOUR, day - DAY + 10 * HOUR)
    assert of(page, "requests") == [(1,)]
    page = await control.call("GET", f"/usage?from={day - DAY + 9 * HOUR + 1}&to={day - DAY + 10 * HOUR + 1}")
    assert (page["from"], page["to"]) == (day - DAY + 9 * HOUR, day - DAY + 11 * HOUR)
    assert of(page, "requests") == [(2,)]
    page = await control.call("GET", f"/usage?from={iso(day - DAY)}&to={iso(day)}")
    assert of(page, "requests") == [(3,)]
    assert of(await control.call("GET", f"/usage?to={iso(day - DAY)}"), "requests") == [(0,)]


async def test_all_time_may_be_asked_for(control: RunningControl, book: Book) -> None:
    await fill(book)
    assert of(await control.call("GET", "/usage?from=0"), "requests") == [(5,)]


async def test_rows_come_in_pages_that_keep_their_period(control: RunningControl, book: Book) -> None:
    for number in range(5):
        await book.settle(model=f"m{number}")
    page = await control.call("GET", "/usage?group_by=model&limit=2")
    assert (of(page, "model"), page["has_more"]) == ([("m0",), ("m1",)], True)
    page = await control.call("GET", f"/usage?group_by=model&limit=2&after={page['next']}")
    assert of(page, "model") == [("m2",), ("m3",)]
    await book.settle(model="m11")  # behind: it is not met
    await book.settle(model="m31")
    last = await control.call("GET", f"/usage?group_by=model&limit=3&after={page['next']}&from=0")
    assert (of(last, "model"), last["has_more"], last["next"]) == ([("m31",), ("m4",)], False, None)
    assert (last["from"], last["to"]) == (page["from"], page["to"])


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("from=never", "from"),
        ("to=2026-13-01", "to"),
        ("from=2026-02-01&to=2026-01-01", "from"),
        ("group_by=week", "group_by"),
        ("group_by=hour&from=0", "group_by"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after=x", "after"),
    ],
)
async def test_mistakes_are_named(control: RunningControl, query: str, param: str) -> None:
    error = (await control.call("GET", f"/usage?{query}", expect=400))["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_a_cursor_goes_with_its_groups(control: RunningControl, book: Book) -> None:
    await book.settle(model="m")
    await book.settle(model="n")
    page = await control.call("GET", "/usage?group_by=model&limit=1")
    error = await control.call("GET", f"/usage?group_by=key&after={page['next']}", expect=400)
    assert error["error"]["param"] == "after"


async def test_without_the_admin_key_nothing_is_told(start_control: Callable[..., Any]) -> None:
    control = await start_control()
    for path in (
        "/admin/v1/usage",
        "/admin/v1/usage/events",
        "/admin/v1/usage/export",
        "/v1/organization/costs",
    ):
        response = await control.http.get(path, headers={"authorization": "Bearer wrong"})
        assert response.status_code == 401
    response = await control.http.post("/admin/v1/ledger/audit", headers={"authorization": "Bearer wrong"})
    assert response.status_code == 401
