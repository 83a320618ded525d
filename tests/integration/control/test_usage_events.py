"""Events of the ledger, one by one and as files."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from gateway.store.client import Store
from gateway.store.keys import ledger
from tests.integration.control.running import RunningControl
from tests.integration.usage.records import DAY, KEY_A, KEY_B, KEY_C, Book, today
from tests.support.valkey import ValkeyServer


@pytest.fixture
def book(store: Store) -> Book:
    return Book(store)


async def test_events_come_oldest_first_with_whole_records(control: RunningControl, book: Book) -> None:
    first = await book.settle(key=KEY_C, cost_nanousd=None, prompt_tokens=None)
    await book.settle(key=KEY_A)
    await book.settle(key=KEY_B, team="x")
    page = await control.call("GET", "/usage/events")
    ids = [event["id"] for event in page["data"]]
    assert ids == sorted(ids, key=lambda known: [int(part) for part in known[3:].split("-")])
    assert len(set(ids)) == 3
    by_key = {event["key"]: event for event in page["data"]}
    assert set(by_key) == {KEY_A, KEY_B, KEY_C}
    assert by_key[KEY_B]["cost_usd"] == "0.001000001"
    shown = by_key[KEY_C]
    assert re.fullmatch(r"42-[0-9]{13}-[0-9]+", shown.pop("id"))
    assert (shown.pop("cost_usd"), shown.pop("saved_usd"), shown.pop("object")) == (None, "0", "usage.event")
    assert shown == json.loads(first.encode())
    assert (shown["cost_nanousd"], shown["prompt_tokens"]) == (None, None)


async def test_a_reader_goes_on_from_where_it_stood(control: RunningControl, book: Book) -> None:
    found, after = [], ""
    for number in range(7):
        await book.settle(key=(KEY_A, KEY_B, KEY_C)[number % 3])
    while True:
        page = await control.call("GET", f"/usage/events?limit=3{after}")
        found += [event["request_id"] for event in page["data"]]
        assert re.fullmatch(r"[A-Za-z0-9_-]+", page["next"])
        after = f"&after={page['next']}"
        if not page["has_more"]:
            break
    assert sorted(found) == [f"req_{number}" for number in range(7)]
    empty = await control.call("GET", f"/usage/events?limit=3{after}")
    assert (empty["data"], empty["has_more"]) == ([], False)
    await book.settle(key=KEY_C)
    page = await control.call("GET", f"/usage/events?after={empty['next']}")
    assert [event["request_id"] for event in page["data"]] == ["req_7"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("after=x", "after"), ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=a", "limit")],
)
async def test_mistakes_are_named(control: RunningControl, query: str, param: str) -> None:
    error = (await control.call("GET", f"/usage/events?{query}", expect=400))["error"]
    assert error["param"] == param


async def test_a_correction_says_what_it_replaces(control: RunningControl, book: Book) -> None:
    await book.settle(state="orphaned", cost_nanousd=None, request_id="r", usage_source="reservation")
    await book.settle(state="exact", cost_nanousd=5, request_id="r", expect="corrected")
    event, correction = (await control.call("GET", "/usage/events"))["data"]
    assert (event["object"], correction["object"]) == ("usage.event", "usage.correction")
    assert "was" not in event
    was = correction["was"]
    assert (correction["cost_nanousd"], was["state"], was["cost_nanousd"], was["requests"]) == (
        *(5, "orphaned", None, 1),
    )
    (row,) = (await control.call("GET", "/usage"))["data"]
    assert (row["requests"], row["cost_nanousd"], row["unpriced_requests"]) == (1, 5, 0)


async def export(control: RunningControl, query: str) -> httpx2.Response:
    response = await control.http.get(f"/admin/v1/usage/export?{query}")
    assert response.status_code == 200, response.text
    return response


async def test_every_format_has_every_record(control: RunningControl, book: Book) -> None:
    for number in range(600):
        await book.settle(key=(KEY_A, KEY_C)[number % 2], cost_nanousd=None if number % 10 == 0 else number)
    wanted = {record.request_id: record.cost_nanousd for record in book.written}
    response = await export(control, "format=jsonl")
    assert response.headers["content-type"] == "application/jsonl"
    assert re.fullmatch(
        r'attachment; filename="tunegate-usage-\d{8}-\d{8}\.jsonl"', response.headers["content-disposition"]
    )
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert {line["request_id"]: line["cost_nanousd"] for line in lines} == wanted
    response = await export(control, "format=csv")
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert {
        row["request_id"]: int(row["cost_nanousd"]) if row["cost_nanousd"] else None for row in rows
    } == wanted
    response = await export(control, "format=parquet")
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    table = pq.read_table(io.BytesIO(response.content)).to_pylist()
    assert {row["request_id"]: row["cost_nanousd"] for row in table} == wanted


async def test_an_export_has_what_came_in_its_period(control: RunningControl, book: Book) -> None:
    day = today()
    for at in (day - 50 * DAY, day - 2 * DAY - 0.001, day - 2 * DAY, day - DAY - 0.001, day - DAY, day):
        await book.settle(at)
    lines = (await export(control, f"from={day - 2 * DAY}&to={day - DAY}")).text.splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == ["req_2", "req_3"]
    assert len((await export(control, "")).text.splitlines()) == 5
    assert len((await export(control, "from=0")).text.splitlines()) == 6
    assert (await export(control, f"from=0&to={day - 60 * DAY}")).content == b""


async def test_an_export_heeds_filters(control: RunningControl, book: Book) -> None:
    await book.settle(key=KEY_A, team="x")
    await book.settle(key=KEY_B, alias=None)
    await book.settle(key=KEY_C, team="x")
    for query, wanted in (
        (f"key={KEY_A}", ["req_0"]),
        ("team=x", ["req_0", "req_2"]),
        (f"team=x&key={KEY_C}&key={KEY_B}", ["req_2"]),
        ("key=nobody", []),
    ):
        lines = (await export(control, query)).text.splitlines()
        assert [json.loads(line)["request_id"] for line in lines] == wanted


async def test_mistakes_of_an_export_are_named(
    control: RunningControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for query, param in (
        ("format=xlsx", "format"),
        ("from=x", "from"),
        ("group_by=key", "group_by"),
        ("format=parquet", "format"),
    ):
        error = (await control.call("GET", f"/usage/export?{query}", expect=400))["error"]
        assert error["param"] == param
    assert "pip install 'tunegate[parquet]'" in error["message"]


async def test_an_export_that_breaks_off_is_not_taken_for_whole(
    control: RunningControl, book: Book, store: Store
) -> None:
    for _ in range(600):
        await book.settle()
    await store.call("XADD", ledger("63"), "*", "t", "event", "r", "no record")
    with capture_logs() as log, pytest.raises(httpx2.RemoteProtocolError):
        await control.http.get("/admin/v1/usage/export")
    assert [line["event"] for line in log] == ["a request failed"]


async def test_while_the_store_is_away_it_is_said_so(start_control: Callable[..., Any]) -> None:
    with ValkeyServer() as own:
        control = await start_control(f'store: {{url: "{own.url}"}}', bare=True)
        own.kill()
        for path in ("/usage", "/usage/events", "/usage/export"):
            error = (await control.call("GET", path, expect=503))["error"]
            assert error["code"] == "store_unavailable"
        await control.call("POST", "/ledger/audit", expect=503)
