import pytest
from starlette.datastructures import QueryParams

from gateway.control.usage_query import Period, array, instant, period_of, usage_query, whole, words
from gateway.domain.errors import InvalidRequest

DAY = 86400
NOON = 1_767_268_800  # 2026-01-01T12:00:00Z
MIDNIGHT = NOON - DAY // 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1767268800", NOON),
        (" 1767268800 ", NOON),
        ("1767268800.9", NOON),
        ("2026-01-01", MIDNIGHT),
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01T12:00", NOON),
        ("2026-01-01 12:00:00", NOON),
        ("2026-01-01T14:00:00+02:00", NOON),
        ("2026-01-01T14:00:00 02:00", NOON),  # what a bare "+" of a query string becomes
        ("2026-01-01T12:00:00.750Z", NOON),
        (None, None),
        ("", None),
    ],
)
def test_a_moment_is_unix_seconds_or_iso(text: str | None, seconds: int | None) -> None:
    assert instant("from", text) == seconds


@pytest.mark.parametrize(
    "text", ["yesterday", "-1", "1e9", "nan", "2026-13-01", "99999999999999", "2026-01-01T25:00", "٣", "1_0"]
)
def test_what_is_no_moment_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="`to` is neither") as refused:
        instant("to", text)
    assert refused.value.param == "to"


def test_a_period_is_the_last_thirty_days_with_today() -> None:
    assert period_of(QueryParams(""), NOON) == Period(MIDNIGHT - 29 * DAY, MIDNIGHT + DAY)
    assert period_of(QueryParams("to=2026-01-01"), NOON) == Period(MIDNIGHT - 30 * DAY, MIDNIGHT)
    assert period_of(QueryParams("from=2026-01-01"), NOON) == Period(MIDNIGHT, MIDNIGHT + DAY)
    assert period_of(QueryParams("from=5&to=7"), NOON) == Period(5, 7)
    assert period_of(QueryParams("to=9"), NOON) == Period(0, 9)


@pytest.mark.parametrize("query", ["from=7&to=7", "from=2026-01-02&to=2026-01-01"])
def test_a_period_that_ends_before_it_begins_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        period_of(QueryParams(query), NOON)
    assert refused.value.param == "from"


@pytest.mark.parametrize(
    "query",
    [
        "x=a&x=b",
        "x[]=a&x[]=b",
        "x%5B%5D=a&x%5B%5D=b",
        "x=a&x[]=b&x=a",
    ],
)
def test_arrays_come_repeated_or_bracketed(query: str) -> None:
    assert array(QueryParams(query), "x") == ("a", "b")


@pytest.mark.parametrize("query", ["x=a,b", "x=a,%20b,", "x[]=a,b", "x=a&x=b&x=a,a"])
def test_words_may_be_joined_by_commas_too(query: str) -> None:
    assert words("x", QueryParams(query), ("a", "b", "c")) == ("a", "b")


def test_a_name_may_have_commas_and_blanks_of_its_own() -> None:
    assert array(QueryParams("x=Sales,%20EMEA&x=%20b"), "x") == ("Sales, EMEA", " b")


def test_groups_and_filters() -> None:
    query = usage_query(QueryParams("group_by=day,key&group_by=model&key=07a&model=m&model=n&alias="), NOON)
    assert query.groups == ("day", "key", "model")
    assert query.only == {"key": {"07a"}, "model": {"m", "n"}}
    with pytest.raises(InvalidRequest, match="week") as refused:
        usage_query(QueryParams("group_by=week"), NOON)
    assert refused.value.param == "group_by"


def test_whole_numbers() -> None:
    assert whole("limit", "7", None, 1, 9) == 7
    assert whole("limit", None, 5, 1, 9) == 5
    for text in ("0", "10", "x", "1.5", "-1", "9" * 30, "²"):
        with pytest.raises(InvalidRequest, match="whole number from 1 to 9"):
            whole("limit", text, 5, 1, 9)
    with pytest.raises(InvalidRequest, match="required"):
        whole("limit", None, None, 1, 9)
