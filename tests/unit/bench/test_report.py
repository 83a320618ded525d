"""The arithmetic of the benchmark's tables; what is measured is checked by running it."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.bench.rows import plain_row

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    import report  # noqa: PLC0415 - found through the path above

    return report


def results_of(report: ModuleType, cpu_us: dict[str, list[float]], *, test: str = "json-c64"):
    """Results whose contenders took `cpu_us`, one figure a round."""
    plain = plain_row(report, test=test, store_us=5.0)
    rows = [
        replace(plain, who=who, round=number, cpu_us=value)
        for who, values in cpu_us.items()
        for number, value in enumerate(values)
    ]
    return report.Results(
        rows, [report.Start("tunegate", 0, 0.8, {"worker": [40_000, 50_000], "store": [9_000]})]
    )


def test_a_ratio_is_of_medians(report: ModuleType):
    results = results_of(report, {"nginx": [10, 20, 90], "tunegate": [50, 40, 1000]})
    assert results.ratio("json-c64", "cpu_us") == 50 / 20


def test_what_was_not_measured_is_none(report: ModuleType):
    results = results_of(report, {"tunegate": [50]})
    assert results.ratio("json-c64", "cpu_us") is None
    assert results.median("tunegate", "stream-1", "p50_ms") is None
    assert results.median("tunegate", "json-c64", "transit_p50_ms") is None


def test_memory_at_rest_is_of_the_largest_process_of_a_kind(report: ModuleType):
    assert results_of(report, {}).rest_kib() == {"store": 9_000, "worker": 50_000}


@pytest.mark.parametrize(
    ("cpu_us", "tls", "verdict", "is_kept"),
    [
        (50, False, "aim met", True),
        (100, False, "kept", True),
        (101, False, "EXCEEDED", False),
        (40, True, "aim met", True),
        (71, True, "EXCEEDED", False),
    ],
)
def test_a_budget_has_its_verdict(report: ModuleType, cpu_us: float, tls: bool, verdict: str, is_kept: bool):
    results = results_of(report, {"nginx": [20], "tunegate": [cpu_us]})
    text, kept = report.budget_table(results, tls=tls)
    line = next(line for line in text.splitlines() if "64 in flight" in line)
    assert line.split("|")[-2].strip() == verdict
    assert kept is is_kept


def test_tables_align(report: ModuleType):
    text = report.rows_table(results_of(report, {"nginx": [20], "tunegate": [49.96]}))
    assert len({len(line) for line in text.splitlines()}) == 1
    *_, last = text.splitlines()
    assert [cell.strip() for cell in last.split("|")][1:6] == [
        "json-c64",
        "tunegate",
        "request",
        "2.50",
        "1000",
    ]


def test_durability_stands_in_one_table_with_the_disk(report: ModuleType):
    both = results_of(report, {"tunegate": [50], "tunegate-always": [60]})
    everysec, always, disk = report.durability_table(both, 0.25).splitlines()[2:]
    assert [cell.strip() for cell in everysec.split("|")][1:5] == ["json-c64", "everysec", "1000", "50.0"]
    assert [cell.strip() for cell in always.split("|")][1:5] == ["json-c64", "always", "1000", "60.0"]
    assert "0.250 ms" in disk


def test_durability_alone_makes_no_table(report: ModuleType):
    assert report.durability_table(results_of(report, {"tunegate": [50]}), 0.25) is None
    assert report.durability_table(results_of(report, {"tunegate-always": [60]}), 0.25) is None
