from pathlib import Path

from gateway.telemetry import docs, metrics

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == docs.render()


def test_it_names_every_metric_label_and_error_type():
    text = docs.render()
    for metric in metrics.ALL:
        assert f"| `{metric.name}` |" in text
        for label in metric.labels:
            assert f"\n| `{label}` |" in text
    for word in metrics.ERROR_TYPES:
        assert f"\n| `{word}` |" in text
