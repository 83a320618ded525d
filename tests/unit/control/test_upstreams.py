from gateway.control.upstreams import UpstreamReport, health_of, reports_of


def test_reports_of_workers_add_up() -> None:
    merged = reports_of(
        [
            {"a": {"in_flight": 2, "set_aside": [1]}, "b": {"in_flight": 0, "set_aside": []}},
            {"a": {"in_flight": 3, "set_aside": [0, 1], "breaker": "of a newer worker"}},
            {},
        ]
    )
    assert merged == {"a": UpstreamReport(5, [0, 1]), "b": UpstreamReport(0, [])}


def test_the_planner_sees_what_the_workers_set_aside() -> None:
    health = health_of({"a": UpstreamReport(0, [1])}, now=50.0)
    assert health.is_ready("a", 0, 50.0)
    assert not health.is_ready("a", 1, 50.0)
