import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from gateway.telemetry import exposition
from gateway.telemetry.counters import Counters
from gateway.telemetry.exposition import Registry
from gateway.telemetry.metrics import ALL, ATTEMPTS, IN_FLIGHT, TTFT, Metric

SIZES = Metric("sizes_seconds", "histogram", "Sizes.", ("kind",), (0.5, 1.0, 2500.0))
METRICS = (ATTEMPTS, IN_FLIGHT, SIZES)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def registry():
    return Registry(METRICS)


def over_the_wire(report: dict) -> dict:
    return json.loads(json.dumps(report))


def samples(registry: Registry) -> dict[tuple, float]:
    text, _ = registry.render()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse_plain(text.decode())
        for sample in family.samples
    }


def attempts(registry: Registry, upstream: str = "openai", outcome: str = "committed") -> float | None:
    return samples(registry).get((ATTEMPTS.name, ("outcome", outcome), ("upstream", upstream)))


def test_the_text_of_a_histogram_is_exactly_right(registry):
    counters = Counters(METRICS)
    for value in (0.25, 0.5, 0.75, 3, 9999):
        counters.observe(SIZES, ("a",), value)
    registry.apply(1, over_the_wire(counters.take_delta()))
    text, content_type = registry.render()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert text.decode().splitlines()[-9:] == [
        "tunegate_in_flight 0.0",
        "# HELP sizes_seconds Sizes.",
        "# TYPE sizes_seconds histogram",
        'sizes_seconds_bucket{kind="a",le="0.5"} 2.0',
        'sizes_seconds_bucket{kind="a",le="1.0"} 3.0',
        'sizes_seconds_bucket{kind="a",le="2500.0"} 4.0',
        'sizes_seconds_bucket{kind="a",le="+Inf"} 5.0',
        'sizes_seconds_count{kind="a"} 5.0',
        'sizes_seconds_sum{kind="a"} 10003.5',
    ]


def test_openmetrics_where_the_scraper_asks_for_it(registry):
    counters = Counters(METRICS)
    counters.inc(ATTEMPTS, ("openai", "committed"))
    counters.observe(SIZES, ("a",), 1)
    registry.apply(1, over_the_wire(counters.take_delta()))
    text, content_type = registry.render(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in parse_openmetrics(text.decode())}
    assert families["tunegate_attempts"].samples[0].value == 1
    assert families["sizes_seconds"].type == "histogram"


def test_every_metric_is_there_from_the_start():
    text, _ = Registry().render()
    families = {family.name for family in parse_plain(text.decode())}
    assert families == {metric.name.removesuffix("_total") for metric in ALL}
    assert samples(Registry())[(f"{TTFT.name}_bucket", ("le", "+Inf"))] == 0
    assert samples(Registry())[(IN_FLIGHT.name,)] == 0


def test_deltas_of_all_workers_add_up(registry):
    first, second = Counters(METRICS), Counters(METRICS)
    for turn in range(3):
        first.inc(ATTEMPTS, ("openai", "committed"), turn)
        second.inc(ATTEMPTS, ("openai", "committed"), 10)
        second.observe(SIZES, ("a",), turn)
        first.observe(SIZES, ("a",), turn)
        registry.apply(1, over_the_wire(first.take_delta()))
        registry.apply(2, over_the_wire(second.take_delta()))
        registry.apply(2, over_the_wire(second.take_delta()))
    assert attempts(registry) == 33
    assert samples(registry)[("sizes_seconds_count", ("kind", "a"))] == 6
    assert samples(registry)[("sizes_seconds_sum", ("kind", "a"))] == 6


def test_totals_may_be_told_again_without_counting_twice(registry):
    counters = Counters(METRICS)
    counters.inc(ATTEMPTS, ("openai", "committed"), 2)
    counters.observe(SIZES, ("a",), 1)
    registry.apply(1, over_the_wire(counters.take_delta()))
    counters.inc(ATTEMPTS, ("openai", "committed"))
    counters.take_delta()  # lost on its way
    registry.apply(1, over_the_wire(counters.totals()))
    registry.apply(1, over_the_wire(counters.totals()))
    counters.inc(ATTEMPTS, ("openai", "committed"))
    registry.apply(1, over_the_wire(counters.take_delta()))
    assert attempts(registry) == 4
    assert samples(registry)[("sizes_seconds_count", ("kind", "a"))] == 1


def test_a_new_control_process_takes_up_where_the_old_one_was(registry):
    counters = Counters(METRICS)
    counters.inc(ATTEMPTS, ("openai", "committed"), 5)
    registry.apply(1, over_the_wire(counters.take_delta()))
    after_restart = Registry(METRICS)
    after_restart.apply(1, over_the_wire(counters.totals()))
    assert samples(after_restart) == samples(registry)


def test_a_worker_that_left_takes_its_gauges_and_leaves_its_counts(registry):
    staying, leaving = Counters(METRICS), Counters(METRICS)
    for worker_id, counters in enumerate((staying, leaving)):
        counters.set(IN_FLIGHT, (), 3)
        counters.inc(ATTEMPTS, ("openai", "committed"))
        registry.apply(worker_id, over_the_wire(counters.take_delta()))
    assert samples(registry)[(IN_FLIGHT.name,)] == 6
    registry.forget(1)
    registry.forget(1)
    assert samples(registry)[(IN_FLIGHT.name,)] == 3
    assert attempts(registry) == 2


def test_a_worker_that_only_lost_its_connection_is_not_counted_twice(registry):
    counters = Counters(METRICS)
    counters.inc(ATTEMPTS, ("openai", "committed"), 5)
    registry.apply("first connection", over_the_wire(counters.totals()))
    registry.forget("first connection")
    registry.apply("second connection", over_the_wire(counters.totals()))
    assert attempts(registry) == 5


def test_a_connection_that_is_lost_again_and_again_changes_nothing(registry):
    counters = Counters(METRICS)
    for connection in range(exposition.SOURCES_KEPT * 3):
        counters.inc(ATTEMPTS, ("openai", "committed"))
        registry.apply(connection, over_the_wire(counters.totals()))
        registry.forget(connection)
    assert attempts(registry) == exposition.SOURCES_KEPT * 3


def test_many_generations_of_workers_are_not_kept_one_by_one(registry):
    for generation in range(exposition.SOURCES_KEPT * 3):
        counters = Counters(METRICS)
        counters.inc(ATTEMPTS, ("openai", "committed"))
        counters.observe(SIZES, ("a",), 1)
        registry.apply(generation, over_the_wire(counters.take_delta()))
        registry.forget(generation)
    assert attempts(registry) == exposition.SOURCES_KEPT * 3
    assert samples(registry)[("sizes_seconds_count", ("kind", "a"))] == exposition.SOURCES_KEPT * 3
    assert len(registry._by_source) == exposition.SOURCES_KEPT


def test_an_empty_report_and_an_unknown_worker_are_nothing(registry):
    before = samples(registry)
    registry.apply(1, {})
    registry.forget("never seen")
    assert samples(registry) == before


def test_label_values_are_escaped(registry):
    counters = Counters(METRICS)
    name = 'quo"te\\back\nslash é'
    counters.inc(ATTEMPTS, (name, "committed"))
    registry.apply(1, over_the_wire(counters.take_delta()))
    assert attempts(registry, upstream=name) == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.floats(0, 5000, allow_nan=False)),
        max_size=40,
    ),
    st.sets(st.integers(0, 39)),
)
def test_however_reports_are_cut_the_histogram_is_that_of_all_values(observations, reported_after):
    registry = Registry(METRICS)
    workers = [Counters(METRICS) for _ in range(3)]
    for number, (worker, kind, value) in enumerate(observations):
        workers[worker].observe(SIZES, (kind,), value)
        if number in reported_after:
            registry.apply(worker, over_the_wire(workers[worker].take_delta()))
    for worker, counters in enumerate(workers):
        registry.apply(worker, over_the_wire(counters.take_delta()))
    found = samples(registry)
    for kind in {kind for _, kind, _ in observations}:
        values = [value for _, each, value in observations if each == kind]
        for bound in (*SIZES.buckets, float("inf")):
            le = "+Inf" if bound == float("inf") else str(bound)
            expected = sum(value <= bound for value in values)
            assert found[("sizes_seconds_bucket", ("kind", kind), ("le", le))] == expected
        assert found[("sizes_seconds_count", ("kind", kind))] == len(values)
        assert found[("sizes_seconds_sum", ("kind", kind))] == pytest.approx(sum(values))
