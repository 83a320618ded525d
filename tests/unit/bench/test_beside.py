"""What the benchmark says of others: a table and a picture, which the page has of the rows beside it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from tests.unit.bench.rows import plain_row

BENCH = Path(__file__).parents[3] / "bench"
PICTURES = BENCH.parent / "docs" / "pictures"
VERSIONS = {"litellm": "1.2.3"}


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    import beside  # noqa: PLC0415 - found through the path above

    return beside


def results_of(beside: ModuleType, costs: dict[tuple[str, str], tuple[float, float]], errors: int = 0):
    """Results of one round: CPU of the proxy and of its store by contender and test."""
    plain = plain_row(beside.report)
    rows = [
        replace(
            plain, who=who, test=test, cpu_us=cpu, store_us=store, errors=errors if who == "litellm" else 0
        )
        for (who, test), (cpu, store) in costs.items()
    ]
    starts = [beside.report.Start("litellm", 0, 6.0, {"litellm": [300_000], "sh": [2_000], "store": [9_000]})]
    return beside.Results(rows, starts)


COSTS = {
    ("nginx", "json-c64"): (20.0, 0.0),
    ("litellm", "json-c64"): (1900.0, 100.0),
    ("nginx", "stream-50"): (10.0, 0.0),
    ("litellm", "stream-50"): (99.0, 1.0),
}


def test_the_table_counts_the_store_and_says_what_failed(beside: ModuleType):
    text = beside.table(results_of(beside, COSTS, errors=7), VERSIONS)
    *_, last = text.splitlines()
    cells = [cell.strip() for cell in last.split("|")][1:-1]
    assert cells == ["LiteLLM 1.2.3", "2000", "100.0", "100", "10.0", "1000", "1.0", "309", "14"]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_what_was_not_measured_stands_empty(beside: ModuleType):
    only_requests = {key: cost for key, cost in COSTS.items() if key[1] == "json-c64"}
    results = results_of(beside, only_requests)
    *_, last = beside.table(results, {}).splitlines()
    assert [cell.strip() for cell in last.split("|")][4:6] == ["", ""]
    assert "not measured" in beside.picture(results, {})


def test_a_bar_is_as_long_as_the_logarithm(beside: ModuleType):
    text = beside.picture(results_of(beside, COSTS), VERSIONS)
    root = ET.fromstring(text)  # noqa: S314 - our own
    svg = "{http://www.w3.org/2000/svg}"
    widths = [float(each.attrib["width"]) for each in root.findall(f"{svg}rect")[1:]]
    whole = beside.WIDTH - beside.LEFT - beside.RIGHT
    shares = [math.log10(cost) / math.log10(2000) for cost in (20, 2000, 10, 100)]
    assert widths == pytest.approx([whole * share for share in shares], abs=0.1)
    texts = [each.text for each in root.findall(f"{svg}text")]
    assert "2,000 (100.0 x nginx)" in texts
    assert "LiteLLM 1.2.3" in texts


def test_a_failure_is_said_in_the_picture(beside: ModuleType):
    assert "2,000 (100.0 x nginx), 7 failed" in beside.picture(results_of(beside, COSTS, errors=7), {})


def test_a_whole_cost_is_the_median_of_sums(beside: ModuleType):
    (row,) = results_of(beside, {("nginx", "json-c64"): (0.0, 0.0)}).rows
    # the median of each part by itself would say 2 + 2
    sums = [(1.0, 9.0), (2.0, 1.0), (9.0, 2.0)]
    rows = [replace(row, cpu_us=cpu, store_us=store) for cpu, store in sums]
    assert beside.Results(rows, []).whole_cpu_us("nginx", "json-c64") == 10.0


def test_rows_come_back_as_they_were_written(beside: ModuleType):
    results = results_of(beside, COSTS)
    assert beside.Results.from_json(json.loads(json.dumps(results.as_json()))) == results


def test_the_page_and_the_picture_are_of_the_rows_that_lie_beside_them(beside: ModuleType):
    document = json.loads((PICTURES / "peers.json").read_text("utf-8"))
    svg = beside.picture(beside.Results.from_json(document), document["settings"]["versions"])
    assert (PICTURES / "peers.svg").read_text("utf-8") == svg
    assert beside.part(document) in beside.PAGE.read_text("utf-8")


def test_a_page_without_a_place_is_not_spoiled(beside: ModuleType):
    with pytest.raises(ValueError, match="no place"):
        beside.with_part("text", "part")


def test_rows_of_another_run_are_not_published(beside: ModuleType, tmp_path: Path):
    (tmp_path / "rows.json").write_text(json.dumps({"settings": {}}))
    with pytest.raises(SystemExit, match="not of a run with --peers"):
        beside.publish(tmp_path / "rows.json")
