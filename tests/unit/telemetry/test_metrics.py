import re

from gateway.domain.errors import FailureClass
from gateway.edge import render
from gateway.telemetry import metrics


def test_names_labels_and_buckets_are_well_formed():
    assert len({metric.name for metric in metrics.ALL}) == len(metrics.ALL)
    for metric in metrics.ALL:
        assert re.fullmatch(r"tunegate_[a-z_]+[a-z]", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.name.endswith("_seconds") == (metric.kind == "histogram")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.help.endswith(".")


def test_every_metric_of_the_module_is_in_the_list():
    found = {each for each in vars(metrics).values() if isinstance(each, metrics.Metric)}
    assert found == set(metrics.ALL)


def test_error_types_are_a_closed_list():
    assert metrics.error_type(None) == "none"
    assert metrics.error_type("model_not_found") == "model_not_found"
    assert metrics.error_type("a code that some upstream made up") == "other"


def test_every_error_of_the_data_plane_has_its_error_type():
    words = {row.code or row.type for row in render._TABLE.values()}
    words.add(render.render_unexpected().error_type)
    assert words <= metrics.ERROR_TYPES.keys()


def test_names_that_are_not_configured_become_other():
    assert metrics.bounded("support", {"support"}) == "support"
    assert metrics.bounded("whatever a caller sends", {"support"}) == "other"
    assert metrics.bounded(None, {"support"}) == "none"


def test_a_class_of_failure_is_usable_as_a_label_as_it_is():
    assert {str(each) for each in FailureClass} == {each.value for each in FailureClass}
