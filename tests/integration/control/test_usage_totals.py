"""Sums by everything that usage can be asked by are those of the records, to the nano-dollar."""

import json
import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.metering.record import LedgerRecord
from gateway.store.client import Store
from tests.integration.control.running import RunningControl
from tests.integration.usage.records import DAY, KEY_A, KEY_B, KEY_C, Book, today

HOSTILE = [
    *("m", "Sales, EMEA", "a:b/c", "%2C&x=1", '"quoted"', "=SUM(A1)", "\N{SNOWMAN} é", "\n", "a b", " m "),
    *("<script>", "'; DROP", "{s07}:use", "*", "null", "0", "a" * 300),
]
OF: dict[str, Callable[[LedgerRecord], str | None]] = {
    **{name: lambda record, name=name: getattr(record, name) for name in ("key", "alias", "model")},  # type: ignore[misc]  # a default is how a lambda keeps its name
    **{name: lambda record, name=name: getattr(record, name) for name in ("upstream", "release", "team")},  # type: ignore[misc]  # as above
    "day": lambda record: datetime.fromtimestamp(record.ts, UTC).strftime("%Y-%m-%d"),
    "hour": lambda record: datetime.fromtimestamp(record.ts, UTC).strftime("%Y-%m-%dT%H:00:00Z"),
}


@pytest.fixture
async def book(store: Store) -> Book:
    """Some hundred calls of three days, under names that nobody would choose; every fifth has no price."""
    book, draw = Book(store), random.Random(3)  # noqa: S311  # no secret
    for number in range(150):
        await book.settle(
            today() - 2 * DAY + draw.randrange(3 * DAY),
            key=draw.choice((KEY_A, KEY_B, KEY_C)),
            model=draw.choice(HOSTILE),
            team=draw.choice([None, *HOSTILE]),
            alias=draw.choice([None, "support"]),
            release=draw.choice([None, "support@1/stable"]),
            upstream=draw.choice([None, "a", "b"]),
            cost_nanousd=None if number % 5 == 0 else draw.randrange(10**12),
            prompt_tokens=draw.randrange(10**6),
            saved_nanousd=draw.randrange(10**9),
            error_type=draw.choice([None, "timeout"]),
        )
    return book


def figures(records: list[LedgerRecord]) -> dict[str, int | None]:
    priced = [record.cost_nanousd for record in records if record.cost_nanousd is not None]
    return {
        "requests": len(records),
        "errors": sum(record.error_type is not None for record in records),
        "prompt_tokens": sum(record.prompt_tokens or 0 for record in records),
        "saved_nanousd": sum(record.saved_nanousd for record in records),
        "cost_nanousd": sum(priced) if priced else None,
        "unpriced_requests": len(records) - len(priced),
    }


@pytest.mark.parametrize("by", [*OF, "team,model", "hour,key,model"])
async def test_sums_are_those_of_the_records(control: RunningControl, book: Book, by: str) -> None:
    names = by.split(",")
    wanted: dict[tuple[str | None, ...], list[LedgerRecord]] = defaultdict(list)
    for record in book.written:
        wanted[tuple(OF[name](record) for name in names)].append(record)
    page = await control.call("GET", f"/usage?group_by={by}&from={today() - 2 * DAY}")
    found = {tuple(row[name] for name in names): row for row in page["data"]}
    assert len(found) == len(page["data"])
    assert {group: {name: row[name] for name in figures([])} for group, row in found.items()} == {
        group: figures(records) for group, records in wanted.items()
    }


async def test_the_total_and_the_events_say_the_same(control: RunningControl, book: Book) -> None:
    (row,) = (await control.call("GET", f"/usage?from={today() - 2 * DAY}"))["data"]
    assert {name: row[name] for name in figures([])} == figures(book.written)
    lines = (await control.http.get("/admin/v1/usage/export")).text.split("\n")[:-1]
    events = [json.loads(line) for line in lines]
    assert sum(event["cost_nanousd"] or 0 for event in events) == row["cost_nanousd"]
    assert sum(event["cost_nanousd"] is None for event in events) == row["unpriced_requests"] == 30


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_name_is_asked_for_as_it_is(control: RunningControl, book: Book, name: str) -> None:
    for field in ("model", "team"):
        wanted = [record for record in book.written if getattr(record, field) == name]
        query: dict[str, Any] = {field: name, "from": today() - 2 * DAY}
        (row,) = (await control.http.get("/admin/v1/usage", params=query)).json()["data"]
        assert row["requests"] == len(wanted)
        exported = await control.http.get("/admin/v1/usage/export", params=query)
        assert exported.text.count("\n") == len(wanted)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        *((f"limit={limit}", "limit") for limit in ("0", "-1", "1e9", "1000000000", "9" * 400, "٣")),
        *((f"after={after}", "after") for after in ("", "%00", "AAAA", "e30", "a" * 5000, "%F0%9F%98%80")),
        *((f"group_by={name}", "group_by") for name in ("week", "%00", "key;drop", "day,,nope", "a" * 999)),
        ("from=2026-02-01&to=2026-02-01", "from"),
        ("from=9&to=8", "from"),
        ("from=-1", "from"),
        ("from=inf", "from"),
        ("to=1e99", "to"),
        ("to=" + "9" * 400, "to"),
    ],
)
async def test_nonsense_is_refused_in_the_official_shape(
    control: RunningControl, query: str, param: str
) -> None:
    paths = ["/usage"] + (["/usage/events"] if param in ("limit", "after") else [])
    for path in paths:
        response = await control.http.get(f"/admin/v1{path}?{query}")
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, None)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("", "start_time"),
        ("start_time=9&end_time=9", "end_time"),
        ("start_time=-1", "start_time"),
        *((f"start_time=1&limit={limit}", "limit") for limit in ("0", "-1", "32", "1e9")),
        *(
            (f"start_time=1&page={page}", "page")
            for page in ("x", "page_1_2", "page_86400_0", "page_999993600000_999999993600", "page_-1_0")
        ),
        ("start_time=1&bucket_width=1w", "bucket_width"),
        ("start_time=1&bucket_width=1m", "start_time"),
        ("start_time=1&group_by=alias", "group_by"),
    ],
)
async def test_nonsense_in_official_queries_too(control: RunningControl, query: str, param: str) -> None:
    response = await control.http.get(f"/v1/organization/usage/completions?{query}")
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, None)
