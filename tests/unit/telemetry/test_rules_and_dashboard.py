"""`config/observability`: every metric, label and word that rules and dashboard name exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from gateway.domain.errors import FailureClass
from gateway.telemetry.metrics import ALL, ERROR_TYPES, TOKEN_KINDS, Metric
from tests.unit.docs.pages import BY_NAME

FOLDER = Path(__file__).parents[3] / "config" / "observability"
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text("utf-8"))
SCRAPED = {"job", "instance"}
WORDS = {
    "error_type": set(ERROR_TYPES),
    "kind": set(TOKEN_KINDS),
    "limit": {"requests", "tokens", "concurrency", "budget", "credit"},
    "outcome": {"committed", "client_left", *FailureClass},
    "state": {"exact", "estimated", "released", "orphaned"},
    "status": {"200"},
}


def series() -> dict[str, Metric]:
    """Every name that a scrape has, and whose it is."""
    named = {}
    for metric in ALL:
        for end in ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",):
            named[metric.name + end] = metric
    return named


SERIES = series()


def queries() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


QUERIES = list(queries())


def parts(expression: str) -> list[Any]:
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found


@pytest.mark.parametrize(("name", "expression"), QUERIES, ids=[name for name, _ in QUERIES])
def test_what_a_query_names_exists(name: str, expression: str) -> None:
    found = parts(expression)
    selectors = [part for part in found if isinstance(part, promql_parser.VectorSelector)]
    assert selectors
    known = set(SCRAPED)
    for selector in selectors:
        if selector.name in RECORDED:
            continue
        assert selector.name in SERIES, selector.name
        labels = SCRAPED | {*SERIES[selector.name].labels}
        if selector.name.endswith("_bucket"):
            labels.add("le")
        known |= labels
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels, f"{selector.name} has no label {matcher.name}"
            if not matcher.value.startswith("$"):
                assert set(matcher.value.split("|")) <= WORDS[matcher.name]
    for part in found:
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            assert set(part.modifier.labels) <= known


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Tunegate[A-Z][A-Za-z]+", rule["alert"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "description"}


def test_a_sum_keeps_the_labels_that_its_texts_show() -> None:
    for rule in ALERTS:
        shown = set(re.findall(r"\$labels\.([a-z_]+)", json.dumps(rule["annotations"])))
        outer = promql_parser.parse(rule["expr"])
        aggregates = [part for part in parts(rule["expr"]) if isinstance(part, promql_parser.AggregateExpr)]
        if not aggregates:
            assert isinstance(outer, promql_parser.BinaryExpr)
            continue
        assert shown <= set(aggregates[0].modifier.labels), rule["alert"]


def test_every_alert_is_explained() -> None:
    rows = BY_NAME["docs/observability.md"].table("alert")
    assert [row["alert"].strip("`") for row in rows] == [rule["alert"] for rule in ALERTS]
    assert [row["severity"] for row in rows] == [rule["labels"]["severity"] for rule in ALERTS]


def test_the_dashboard_shows_every_metric() -> None:
    shown = {
        SERIES[part.name].name
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
        for part in parts(target["expr"].replace("$__rate_interval", "5m"))
        if isinstance(part, promql_parser.VectorSelector)
    }
    assert shown == {metric.name for metric in ALL}


def test_panels_have_a_place_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_finds_its_choices_in_metrics() -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["definition"])
            assert found is not None
            assert found[2] in SCRAPED | set(SERIES[found[1]].labels)
