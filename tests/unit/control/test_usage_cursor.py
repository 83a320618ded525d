import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.usage_cursor import (
    RowsCursor,
    events_cursor,
    positions_of,
    rows_cursor,
    rows_cursor_of,
)
from gateway.domain.errors import InvalidRequest
from gateway.store.usage import SHARDS
from gateway.store.usage_events import START

POSITIONS = st.dictionaries(
    st.sampled_from(SHARDS), st.tuples(st.integers(0, 2**48), st.integers(0, 2**62)), max_size=64
)


@given(POSITIONS)
def test_a_cursor_holds_where_its_reader_stands(positions: dict[str, tuple[int, int]]) -> None:
    cursor = events_cursor(positions)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    assert positions_of(cursor) == {**dict.fromkeys(SHARDS, START), **positions}


def test_no_cursor_is_the_start() -> None:
    assert positions_of(None) == dict.fromkeys(SHARDS, START)
    assert positions_of(events_cursor({})) == dict.fromkeys(SHARDS, START)


def test_a_cursor_over_all_shards_fits_into_a_url() -> None:
    now = 1_767_268_800_000
    full = {shard: (now + int(shard) * 999_983, 7) for shard in SHARDS}
    assert len(events_cursor(full)) < 900


def test_rows_go_on_behind_a_group() -> None:
    cursor = RowsCursor(1, 2, ("key", "day"), ("07é", "2026-01-01"))
    text = rows_cursor(cursor)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)
    assert rows_cursor_of(text) == cursor


GOOD = events_cursor({"07": (5, 6)})
ROWS = rows_cursor(RowsCursor(1, 2, (), ()))


@pytest.mark.parametrize(
    "text", ["", "x", "=", "é", GOOD[:-1], GOOD + "A", GOOD[:3] + "x" + GOOD[4:], ROWS, "A" * 5000, "a b"]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        positions_of(text)
    assert refused.value.param == "after"


def test_a_cursor_of_events_is_none_of_rows() -> None:
    with pytest.raises(InvalidRequest):
        rows_cursor_of(GOOD)


@pytest.mark.parametrize(("start", "end"), [(-(10**15), 5), (0, 10**15)])
def test_a_cursor_of_no_time_is_none(start: int, end: int) -> None:
    with pytest.raises(InvalidRequest):
        rows_cursor_of(rows_cursor(RowsCursor(start, end, ("key",), ("07a",))))


def test_a_cursor_of_no_place_is_none() -> None:
    with pytest.raises(InvalidRequest):
        positions_of(events_cursor({"07": (-5, 0)}))
