"""The quickest cases of the fault matrix, on one gateway; `python3 dev.py chaos matrix` plays all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.matrix_cases import CASES, FAMILIES
from tests.chaos.matrix_kit.case import NO_RECORD, Answered, Case, attempts
from tests.chaos.matrix_kit.page import page, without_measurements
from tests.chaos.matrix_kit.play import Result, play_all

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
QUICK = [case for case in CASES if case.quick]
NAMES = {case.name: case for case in CASES}
WRONG = replace(
    NAMES["429 insufficient_quota"],
    name="everything expected wrongly",
    client=Answered(),
    metrics=(attempts("committed", 1),),
    ledger=NO_RECORD,
    within_s=0.0,
    settled_within_s=0.5,
)


async def _play(cases: list[Case]) -> dict[str, Result]:
    return {result.case.name: result async for result in play_all(cases)}


@pytest.fixture(scope="module")
def results() -> Mapping[str, Result]:
    """All of them, one after the other: their figures are awaited once."""
    return asyncio.run(_play([*QUICK, WRONG]))


@pytest.mark.parametrize("name", [case.name for case in QUICK])
def test_a_case_of_the_matrix(results: Mapping[str, Result], name: str) -> None:
    assert results[name].failures == []


def test_each_expectation_can_fail(results: Mapping[str, Result]) -> None:
    failures = "\n".join(results[WRONG.name].failures)

    assert "(502," in failures
    assert "not within 0 s" in failures
    assert "ledger: 1 x released; expected no record" in failures
    assert 'tunegate_attempts_total{outcome="committed"}` 1' in failures
    assert 'tunegate_requests_total{status="200", error_type="none"}` 1' in failures


def test_the_page_has_the_cases_as_they_are() -> None:
    written = without_measurements(PAGE.read_text(encoding="utf-8"))

    assert written == without_measurements(page(FAMILIES, {})), "python3 dev.py chaos matrix --write"
