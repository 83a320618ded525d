import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import ATTEMPTS, IN_FLIGHT, REQUEST_DURATION, Metric

SIZES = Metric("sizes_seconds", "histogram", "Sizes.", ("kind",), (1.0, 2.0, 5.0))


@pytest.fixture
def counters():
    return Counters([ATTEMPTS, IN_FLIGHT, SIZES])


def figures(report: dict) -> dict:
    return {name: report[name] for name in ("counters", "gauges", "histograms")}


def test_a_delta_is_what_came_since_the_last_report(counters):
    counters.inc(ATTEMPTS, ("openai", "committed"))
    counters.inc(ATTEMPTS, ("openai", "committed"), 2)
    counters.inc(ATTEMPTS, ("relay", "timeout"))
    assert sorted(counters.take_delta()["counters"][ATTEMPTS.name]) == [
        [["openai", "committed"], 3],
        [["relay", "timeout"], 1],
    ]
    counters.inc(ATTEMPTS, ("relay", "timeout"))
    delta = counters.take_delta()
    assert delta["counters"] == {ATTEMPTS.name: [[["relay", "timeout"], 1]]}
    assert delta["full"] is False


def test_a_delta_without_news_is_empty(counters):
    assert counters.take_delta() == {}
    counters.inc(ATTEMPTS, ("openai", "committed"))
    counters.take_delta()
    assert counters.take_delta() == {}


def test_totals_count_from_the_start_and_the_next_delta_begins_there(counters):
    counters.inc(ATTEMPTS, ("openai", "committed"), 2)
    counters.observe(SIZES, ("a",), 1.5)
    counters.take_delta()
    counters.inc(ATTEMPTS, ("openai", "committed"))
    counters.observe(SIZES, ("a",), 7)
    for _ in range(2):
        totals = counters.totals()
        assert totals["full"] is True
        assert figures(totals) == {
            "counters": {ATTEMPTS.name: [[["openai", "committed"], 3]]},
            "gauges": {},
            "histograms": {SIZES.name: [[["a"], [0, 1, 0, 1], 8.5]]},
        }
    assert counters.take_delta() == {}


def test_a_report_does_not_change_after_it_was_taken(counters):
    counters.observe(SIZES, ("a",), 1.5)
    delta = counters.take_delta()
    totals = counters.totals()
    counters.observe(SIZES, ("a",), 1.5)
    counters.totals()
    assert delta["histograms"] == totals["histograms"] == {SIZES.name: [[["a"], [0, 1, 0, 0], 1.5]]}


@pytest.mark.parametrize(
    ("value", "bucket"), [(0, 0), (1.0, 0), (1.0001, 1), (2, 1), (5, 2), (5.1, 3), (1e9, 3)]
)
def test_a_bound_belongs_to_its_bucket(counters, value, bucket):
    counters.observe(SIZES, ("a",), value)
    [[_, counts, total]] = counters.take_delta()["histograms"][SIZES.name]
    assert counts == [int(place == bucket) for place in range(4)]
    assert total == value


@given(st.lists(st.sampled_from([0, 0.5, 1.0, 1.0001, 2, 3, 5, 5.1, 1e9]), min_size=1))
def test_many_observations_are_the_same_as_one_after_the_other(seconds):
    plain = Metric("plain_seconds", "histogram", "Plain.", (), (1.0, 2.0, 5.0))
    one_by_one, at_once = Counters([plain]), Counters([plain])
    for each in seconds:
        one_by_one.observe(plain, (), each)
    at_once.observe_all(plain, seconds[:2])
    at_once.observe_all(plain, seconds[2:])
    [[_, counts, total]] = at_once.take_delta()["histograms"]["plain_seconds"]
    [[_, expected, expected_total]] = one_by_one.take_delta()["histograms"]["plain_seconds"]
    assert (counts, total) == (expected, pytest.approx(expected_total))


def test_gauges_are_reported_whole_as_they_stand(counters):
    counters.set(IN_FLIGHT, (), 2)
    assert counters.take_delta()["gauges"] == {IN_FLIGHT.name: [[[], 2]]}
    counters.inc(ATTEMPTS, ("openai", "committed"))
    assert counters.take_delta()["gauges"] == {IN_FLIGHT.name: [[[], 2]]}
    counters.set(IN_FLIGHT, (), 0)
    assert counters.take_delta()["gauges"] == {IN_FLIGHT.name: [[[], 0]]}
    counters.set(IN_FLIGHT, (), 7)
    assert counters.totals()["gauges"] == {IN_FLIGHT.name: [[[], 7]]}


def test_a_gauge_may_be_read_at_the_time_of_a_report(counters):
    calls = [1, 2]
    counters.follow(IN_FLIGHT, lambda: len(calls))
    assert counters.take_delta()["gauges"] == {IN_FLIGHT.name: [[[], 2]]}
    assert counters.take_delta() == {}
    calls.clear()
    assert counters.take_delta()["gauges"] == {IN_FLIGHT.name: [[[], 0]]}
    assert counters.totals()["gauges"] == {IN_FLIGHT.name: [[[], 0]]}


def test_reports_are_json():
    counters = Counters()
    counters.observe(REQUEST_DURATION, (), 0.2)
    counters.inc(ATTEMPTS, ("openai", "committed"))
    counters.set(IN_FLIGHT, (), 1)
    for report in (counters.take_delta(), counters.totals()):
        assert json.loads(json.dumps(report)) == report


def test_two_processes_are_two_sources():
    assert Counters().totals()["source"] != Counters().totals()["source"]


def test_a_gauge_is_replaced_whole():
    gauge = Metric("tunegate_days", "gauge", "Days.", ("model",))
    counters = Counters([gauge])
    counters.set(gauge, ("gone",), 3)
    counters.take_delta()

    counters.replace(gauge, {("m",): 2})

    assert counters.take_delta()["gauges"] == {"tunegate_days": [[["m"], 2]]}
