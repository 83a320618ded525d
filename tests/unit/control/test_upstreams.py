from gateway.control.upstreams import health_of, reports_of
from gateway.routing.health import UpstreamReport


def test_reports_of_workers_add_up() -> None:
    merged = reports_of(
        [
            {"a": {"in_flight": 2, "set_aside": [1]}, "b": {"in_flight": 0, "set_aside": []}},
            {"a": {"in_flight": 3, "set_aside": [0, 1], "breaker": "of a newer worker"}},
            {},
        ]
    )
    assert merged == {"a": UpstreamReport(5, [0, 1]), "b": UpstreamReport(0, [])}


def test_the_planner_sees_what_the_workers_found() -> None:
    health = health_of({"a": UpstreamReport(0, set_aside=[1], open=[2], gone=["m"])}, now=50.0)
    assert [health.is_set_aside("a", n, 50.0) for n in range(3)] == [False, True, False]
    assert [health.is_open("a", n, 50.0) for n in range(3)] == [False, False, True]
    assert health.is_gone("a", "m", 50.0)
