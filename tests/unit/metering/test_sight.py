"""An unbroken sight: every row of the table in `sight.py`."""

from gateway.metering.sight import Sight


def seen(*events: float | None) -> float:
    sight = Sight(max_gap_s=10)
    for event in events:
        if event is None:
            sight.missed()
        else:
            sight.answered(event)
    return sight.unbroken_s


def test_what_was_not_seen_is_not_unbroken():
    assert seen() == 0
    assert seen(5) == 0
    assert seen(None) == 0


def test_answers_in_a_row_add_up():
    assert seen(5, 10, 15) == 10
    assert seen(5, 15) == 10


def test_a_missing_answer_begins_anew():
    assert seen(5, 10, None) == 0
    assert seen(5, 10, None, 15) == 0
    assert seen(5, 10, None, 15, 20) == 5


def test_a_pause_in_which_nobody_looked_begins_anew():
    assert seen(5, 10, 20.5) == 0
    assert seen(5, 10, 20.5, 25) == 4.5
