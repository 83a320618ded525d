import pytest
from starlette.datastructures import QueryParams

from gateway.control.organization_query import Kind, OrganizationQuery, organization_query
from gateway.domain.errors import InvalidRequest

HOUR, DAY = 3600, 86400
TODAY = 1_767_225_600  # 2026-01-01T00:00:00Z
NOW = TODAY + 12 * HOUR + 5


def of(query: str, kind: Kind = "completions") -> OrganizationQuery:
    return organization_query(QueryParams(query), kind, NOW, events_kept_s=90 * DAY)


def test_buckets_are_whole_and_end_with_the_current_one() -> None:
    query = of(f"start_time={TODAY - 2 * DAY + 5}")
    assert (query.width, query.start, query.end, query.next_page) == (
        "1d",
        TODAY - 2 * DAY,
        TODAY + DAY,
        None,
    )
    query = of(f"start_time={TODAY}&bucket_width=1h&end_time={TODAY + HOUR + 1}")
    assert (query.start, query.count, query.end) == (TODAY, 2, TODAY + 2 * HOUR)
    query = of(f"start_time={NOW - 125}&bucket_width=1m")
    assert (query.start, query.count) == (TODAY + 12 * HOUR - 120, 3)


@pytest.mark.parametrize(
    ("query", "kind", "count"),
    [
        ("bucket_width=1d", "completions", 7),
        ("bucket_width=1d&limit=31", "completions", 31),
        ("bucket_width=1h", "completions", 24),
        ("bucket_width=1h&limit=168", "completions", 168),
        ("bucket_width=1m", "completions", 60),
        ("bucket_width=1m&limit=1440", "completions", 1440),
        ("", "costs", 7),
        ("limit=180", "costs", 180),
    ],
)
def test_a_page_has_as_many_buckets_as_its_width_allows(query: str, kind: Kind, count: int) -> None:
    start = TODAY - 60 * DAY if kind == "completions" else TODAY - 200 * DAY
    page = of(f"start_time={start}&{query}", kind)
    assert page.count == count
    assert page.next_page is not None
    following = of(f"start_time={start}&{query}&page={page.next_page}", kind)
    assert following.start == page.end


def test_pages_end_where_the_first_one_said() -> None:
    start = TODAY - 20 * DAY
    page, seen = of(f"start_time={start}"), []
    while page.next_page:
        seen.append((page.start, page.end))
        page = of(f"start_time={start}&page={page.next_page}")
    seen.append((page.start, page.end))
    assert [first[1] for first in seen[:-1]] == [second[0] for second in seen[1:]]
    assert (seen[0][0], seen[-1][1], len(seen)) == (start, TODAY + DAY, 3)


def test_filters_and_groups_under_our_names() -> None:
    query = of(
        f"start_time={TODAY}&models[]=m&models[]=n&project_ids=x&project_ids=y&api_key_ids=07a&group_by[]=model"
        "&group_by[]=user_id&group_by[]=project_id"
    )
    assert query.only == {"model": {"m", "n"}, "team": {"x", "y"}, "key": {"07a"}}
    assert query.dimensions == ["model", "team"]
    assert not query.is_void
    costs = of(f"start_time={TODAY}&line_items=m&group_by=line_item", "costs")
    assert (costs.only, costs.dimensions) == ({"model": {"m"}}, ["model"])


@pytest.mark.parametrize(
    ("query", "is_void"),
    [("user_ids[]=u", True), ("batch=true", True), ("batch=false", False), ("batch=", False)],
)
def test_what_is_not_counted_here_is_nowhere(query: str, is_void: bool) -> None:
    assert of(f"start_time={TODAY}&{query}").is_void is is_void


@pytest.mark.parametrize(
    ("query", "kind", "param"),
    [
        ("", "completions", "start_time"),
        ("start_time=x", "completions", "start_time"),
        (f"start_time={TODAY}&end_time={TODAY}", "completions", "end_time"),
        (f"start_time={TODAY}&bucket_width=2d", "completions", "bucket_width"),
        (f"start_time={TODAY}&bucket_width=1h", "costs", "bucket_width"),
        (f"start_time={TODAY}&limit=0", "completions", "limit"),
        (f"start_time={TODAY}&limit=32", "completions", "limit"),
        (f"start_time={TODAY}&limit=181", "costs", "limit"),
        (f"start_time={TODAY}&group_by=model", "costs", "group_by"),
        (f"start_time={TODAY}&group_by=line_item", "completions", "group_by"),
        (f"start_time={TODAY}&batch=maybe", "completions", "batch"),
        (f"start_time={TODAY}&page=x", "completions", "page"),
        (f"start_time={TODAY}&page=page_7_{TODAY}", "completions", "page"),
        (f"start_time={TODAY - 401 * DAY}&bucket_width=1h", "completions", "start_time"),
        (f"start_time={TODAY - 91 * DAY}&bucket_width=1m", "completions", "start_time"),
    ],
)
def test_mistakes_are_named(query: str, kind: Kind, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        of(query, kind)
    assert refused.value.param == param


def test_a_start_in_the_future_has_no_buckets() -> None:
    query = of(f"start_time={TODAY + 5 * DAY}")
    assert (query.count, query.next_page) == (0, None)
