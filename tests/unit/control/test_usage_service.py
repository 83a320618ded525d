from itertools import pairwise

import pytest

from gateway.control.usage_query import Period
from gateway.control.usage_service import Stretch, plan
from gateway.domain.errors import InvalidRequest

HOUR, DAY = 3600, 86400
TODAY = 1_767_225_600  # 2026-01-01T00:00:00Z
NOW = TODAY + 12 * HOUR + 5


def of(start: int, end: int, *, by_hour: bool = False) -> tuple[Period, list[Stretch]]:
    return plan(Period(start, end), NOW, by_hour=by_hour)


def test_whole_days_are_read_by_day() -> None:
    period = Period(TODAY - 30 * DAY, TODAY)
    assert of(period.start, period.end) == (period, [Stretch("day", period.start, period.end)])


def test_the_rest_is_read_by_hour_and_bounds_move_out_to_it() -> None:
    start, end = TODAY - 2 * DAY + 5 * HOUR + 1, TODAY + 3 * HOUR + 1
    assert of(start, end) == (
        Period(start - 1, end + HOUR - 1),
        [
            Stretch("hour", start - 1, TODAY - DAY),
            Stretch("day", TODAY - DAY, TODAY),
            Stretch("hour", TODAY, TODAY + 4 * HOUR),
        ],
    )


def test_less_than_a_day_is_read_by_hour() -> None:
    across = of(TODAY - HOUR, TODAY + HOUR)
    assert across == (
        Period(TODAY - HOUR, TODAY + HOUR),
        [Stretch("hour", TODAY - HOUR, TODAY + HOUR)],
    )
    assert of(TODAY + 1, TODAY + 2)[1] == [Stretch("hour", TODAY, TODAY + HOUR)]


def test_every_second_is_read_exactly_once() -> None:
    for start in range(TODAY - 2 * DAY, TODAY - DAY, 5 * HOUR + 17):
        for end in range(start + 1, TODAY + DAY, 7 * HOUR + 1):
            period, stretches = of(start, end)
            assert (stretches[0].start, stretches[-1].end) == (period.start, period.end)
            assert period.start <= start < end <= period.end
            assert all(a.end == b.start for a, b in pairwise(stretches))


def test_rows_by_hour_are_read_by_hour() -> None:
    assert of(TODAY - 3 * DAY, TODAY, by_hour=True)[1] == [Stretch("hour", TODAY - 3 * DAY, TODAY)]
    with pytest.raises(InvalidRequest, match="400 days"):
        of(TODAY - 401 * DAY, TODAY, by_hour=True)


def test_where_hours_are_gone_bounds_move_out_to_days() -> None:
    then = TODAY - 500 * DAY
    assert of(then + HOUR, then + DAY + HOUR) == (
        Period(then, then + 2 * DAY),
        [Stretch("day", then, then + 2 * DAY)],
    )


def test_the_future_is_not_read() -> None:
    assert of(TODAY, 253402300799)[0] == Period(TODAY, TODAY + 2 * DAY)
    assert of(TODAY + 9 * DAY, TODAY + 10 * DAY)[1] == []
