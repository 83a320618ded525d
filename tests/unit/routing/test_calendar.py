from gateway.routing.calendar import Calendar

MIDNIGHT = 1_764_028_800.0  # 2025-11-25 in UTC


def test_a_day_is_that_of_utc_whichever_way_the_clock_goes() -> None:
    now = MIDNIGHT - 0.001
    calendar = Calendar(lambda: now)
    assert calendar.today() == "2025-11-24"
    now = MIDNIGHT
    assert calendar.today() == "2025-11-25"
    now = MIDNIGHT + 86_399.9
    assert calendar.today() == "2025-11-25"
    now = MIDNIGHT - 86_400  # the clock was set back
    assert calendar.today() == "2025-11-24"
