"""Usage and costs in the official shapes, read by the official SDK."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from gateway.store.client import Store
from tests.integration.control.running import ADMIN_KEY, RunningControl
from tests.integration.usage.records import DAY, HOUR, KEY_A, KEY_B, KEY_C, Book, today


@pytest.fixture
async def admin(control: RunningControl) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official SDK, which is given nothing but the admin key and where to go."""
    async with openai.AsyncOpenAI(
        admin_api_key=ADMIN_KEY, base_url=f"{control.url}/v1", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def book(store: Store) -> Book:
    """Two teams, three keys, three models; yesterday and the day before."""
    book, day = Book(store), today()
    await book.settle(day - 2 * DAY + 5, model="m", team="x")
    await book.settle(day - 2 * DAY + 6, model="n", team="x", key=KEY_B)
    await book.settle(day - DAY + 7 * HOUR + 61, model="m", key=KEY_C, cost_nanousd=None)
    await book.settle(day - DAY + 7 * HOUR + 125, model="m", key=KEY_C, cost_nanousd=None)
    return book


async def test_completions_by_day(admin: openai.AsyncOpenAI, book: Book) -> None:
    day = today()
    usage = admin.admin.organization.usage
    page = await usage.completions(start_time=day - 3 * DAY, end_time=day)
    assert (page.object, page.has_more, page.next_page) == ("page", False, None)
    assert [(each.start_time, each.end_time) for each in page.data] == [
        (day - back * DAY, day - (back - 1) * DAY) for back in (3, 2, 1)
    ]
    assert [len(each.results) for each in page.data] == [0, 1, 1]
    result: Any = page.data[1].results[0]
    assert result.object == "organization.usage.completions.result"
    assert (result.input_tokens, result.input_cached_tokens, result.input_uncached_tokens) == (200, 80, 120)
    assert (result.output_tokens, result.num_model_requests) == (20, 2)
    named = (
        result.project_id,
        result.user_id,
        result.api_key_id,
        result.model,
        result.batch,
        result.service_tier,
    )
    assert named == (None,) * 6


async def test_the_answer_is_the_official_one_to_the_letter(control: RunningControl, book: Book) -> None:
    day = today()
    start = day - 2 * DAY
    response = await control.http.get(
        f"/v1/organization/usage/completions?start_time={start}&group_by[]=model&limit=1"
    )
    usage = {"input_tokens": 100, "input_cached_tokens": 40, "output_tokens": 10, "num_model_requests": 1}
    nothing = dict.fromkeys(("project_id", "user_id", "api_key_id", "batch", "service_tier", "api_source"))
    assert response.json() == {
        "object": "page",
        "has_more": True,
        "next_page": f"page_{start + DAY}_{day + DAY}",
        "data": [
            {
                "object": "bucket",
                "start_time": start,
                "end_time": start + DAY,
                "results": [
                    {
                        "object": "organization.usage.completions.result",
                        **usage,
                        "input_cache_write_tokens": None,
                        "input_uncached_tokens": 60,
                        "input_audio_tokens": 0,
                        "output_audio_tokens": 0,
                        "model": model,
                        **nothing,
                    }
                    for model in ("m", "n")
                ],
            }
        ],
    }


async def test_groups_and_filters(admin: openai.AsyncOpenAI, book: Book) -> None:
    usage, day = admin.admin.organization.usage, today()
    page = await usage.completions(
        start_time=day - 2 * DAY,
        end_time=day,
        group_by=["model", "api_key_id", "project_id", "batch", "user_id", "service_tier", "api_source"],
    )
    results: list[Any] = [result for bucket in page.data for result in bucket.results]
    assert [(each.model, each.api_key_id, each.project_id, each.num_model_requests) for each in results] == [
        ("m", KEY_A, "x", 1),
        ("n", KEY_B, "x", 1),
        ("m", KEY_C, None, 2),
    ]
    assert {(each.batch, each.user_id, each.service_tier) for each in results} == {(False, None, None)}
    for filters, requests in (
        ({"models": ["m"]}, 3),
        ({"models": ["m", "n"], "project_ids": ["x"]}, 2),
        ({"api_key_ids": [KEY_C, KEY_B]}, 3),
        ({"api_key_ids": ["nobody"]}, 0),
        ({"user_ids": ["u"]}, 0),
        ({"batch": True}, 0),
        ({"batch": False}, 4),
    ):
        page = await usage.completions(start_time=day - 2 * DAY, end_time=day, **filters)  # type: ignore[arg-type]  # filters are of many types
        found: list[Any] = [result for bucket in page.data for result in bucket.results]
        assert sum(each.num_model_requests for each in found) == requests, filters


@pytest.mark.parametrize("query", ["models[]=m&models[]=x", "models=m&models=x"])
async def test_arrays_in_every_style(control: RunningControl, book: Book, query: str) -> None:
    response = await control.http.get(
        f"/v1/organization/usage/completions?start_time={today() - 2 * DAY}&{query}"
    )
    buckets = response.json()["data"]
    assert sum(result["num_model_requests"] for each in buckets for result in each["results"]) == 3


async def test_hours_and_minutes(admin: openai.AsyncOpenAI, book: Book) -> None:
    usage, seven = admin.admin.organization.usage, today() - DAY + 7 * HOUR
    page = await usage.completions(start_time=seven - HOUR, end_time=seven + 2 * HOUR, bucket_width="1h")
    results: list[Any] = [each.results for each in page.data]
    assert [len(each) for each in results] == [0, 1, 0]
    assert results[1][0].num_model_requests == 2
    page = await usage.completions(start_time=seven, end_time=seven + 240, bucket_width="1m")
    assert [(each.start_time - seven, len(each.results)) for each in page.data] == [
        (0, 0),
        (60, 1),
        (120, 1),
        (180, 0),
    ]
    page = await usage.completions(
        start_time=seven, bucket_width="1m", limit=3, group_by=["model"], api_key_ids=[KEY_C], models=["m"]
    )
    assert [[result.model for result in each.results] for each in page.data] == [[], ["m"], ["m"]]  # type: ignore[union-attr]  # results of this one kind
    page = await usage.completions(start_time=seven, bucket_width="1m", limit=3, models=["other"])
    assert [each.results for each in page.data] == [[], [], []]


async def test_a_minute_has_its_corrections(
    control: RunningControl, admin: openai.AsyncOpenAI, store: Store
) -> None:
    book, at = Book(store), today() - DAY
    await book.settle(at, request_id="r", state="estimated", completion_tokens=10)
    await book.settle(at + 60, request_id="s", state="exact", completion_tokens=1)
    await book.settle(at, request_id="r", state="exact", completion_tokens=7, expect="corrected")
    page = await admin.admin.organization.usage.completions(
        start_time=at, bucket_width="1m", limit=2, end_time=at + 120
    )
    results: list[Any] = [each.results[0] for each in page.data]
    assert [(each.num_model_requests, each.output_tokens) for each in results] == [(1, 7), (1, 1)]


async def test_pages_follow_one_another(admin: openai.AsyncOpenAI, book: Book) -> None:
    usage, start = admin.admin.organization.usage, today() - 2 * DAY
    page = await usage.completions(start_time=start, limit=1, group_by=["model"])
    buckets = list(page.data)
    while page.has_more:
        assert page.next_page is not None
        page = await usage.completions(start_time=start, limit=1, group_by=["model"], page=page.next_page)
        buckets += page.data
    assert [each.start_time for each in buckets] == [start, start + DAY, start + 2 * DAY]
    assert [len(each.results) for each in buckets] == [2, 1, 0]


async def test_costs_by_day(admin: openai.AsyncOpenAI, book: Book) -> None:
    usage, day = admin.admin.organization.usage, today()
    page = await usage.costs(start_time=day - 3 * DAY, end_time=day)
    results: list[Any] = [each.results for each in page.data]
    assert [len(each) for each in results] == [0, 1, 1]
    known, unknown = results[1][0], results[2][0]
    assert (known.object, known.amount.value, known.amount.currency) == (
        *("organization.costs.result", 0.002000002, "usd"),
    )
    assert unknown.amount.value is None  # no price is not a price of 0
    assert (known.line_item, known.project_id, known.api_key_id, known.quantity) == (None,) * 4
    page = await usage.costs(
        start_time=day - 2 * DAY, end_time=day - DAY, group_by=["line_item", "project_id", "api_key_id"]
    )
    found: list[Any] = page.data[0].results
    assert [(each.line_item, each.project_id, each.api_key_id, each.amount.value) for each in found] == [
        ("m", "x", KEY_A, 0.001000001),
        ("n", "x", KEY_B, 0.001000001),
    ]
    page = await usage.costs(start_time=day - 2 * DAY, end_time=day - DAY, project_ids=["y"], limit=180)
    assert page.data[0].results == []


async def test_mistakes_are_official_errors(admin: openai.AsyncOpenAI, control: RunningControl) -> None:
    usage = admin.admin.organization.usage
    with pytest.raises(openai.BadRequestError) as refused:
        await usage.completions(start_time=today(), limit=32)
    assert (refused.value.param, refused.value.type) == ("limit", "invalid_request_error")
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        await usage.embeddings(start_time=today())
    stranger = admin.with_options(admin_api_key="wrong")
    with pytest.raises(openai.AuthenticationError):
        await stranger.admin.organization.usage.costs(start_time=today())
