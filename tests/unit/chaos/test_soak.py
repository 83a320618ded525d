"""What a soak is judged by: growth, open files, what is left; and how it is shown."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from tests.chaos.soak_kit.page import BEGIN, END, part, with_part
from tests.chaos.soak_kit.picture import picture
from tests.chaos.soak_kit.verdict import Verdict
from tests.chaos.soak_kit.watch import Sample, growth_mib

GOOD = Verdict(
    minutes=30,
    window_minutes=20,
    peak_per_s=800,
    rate_per_s=400,
    calls={"whole": 90, "left": 5, "503 store_unavailable": 5},
    faults={"slow": 3},
    growth_mib={"worker-0": 1.9, "supervisor": 0.0},
    store_mib=(9, 90),
    files={"worker-0": (40, 48)},
    open_reservations=0,
    journals_left=0,
    audit="they agree",
    audit_exit=0,
    died=[],
)


def samples_of(*mib: float) -> list[Sample]:
    return [Sample(float(at), {"worker-0": each}, {"worker-0": 9}, at) for at, each in enumerate(mib)]


def test_growth_is_that_of_the_end_and_no_peak_between_counts() -> None:
    samples = samples_of(*[50.0] * 10, *[80.0] * 20, 300.0, *[80.5] * 9)

    assert growth_mib(samples, "worker-0", since_s=10) == 0.5
    assert growth_mib(samples, "worker-0", since_s=0) == 30.5


def test_a_good_run_has_nothing_wrong() -> None:
    assert GOOD.wrongs == []


@pytest.mark.parametrize(
    "change",
    [
        {"growth_mib": {"worker-0": 2.0}},
        {"files": {"worker-0": (40, 60)}},
        {"open_reservations": 1},
        {"journals_left": 1},
        {"audit_exit": 1},
        {"died": ["worker-1"]},
        {"calls": {"500 None": 1}},
        {"complaints": ["a request failed"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_wrong_is_found(change: dict[str, object]) -> None:
    assert len(replace(GOOD, **change).wrongs) == 1  # type: ignore[arg-type]  # fields of every type


def test_the_picture_is_svg_with_a_line_for_each_process() -> None:
    root = ET.fromstring(picture(samples_of(10, 20, 15), ["worker-0"], 1, "a < b"))  # noqa: S314  # our own

    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 1
    assert len(lines[0].attrib["points"].split()) == 3


def test_a_part_takes_its_place_and_can_be_written_again() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    once = with_part(page, part(GOOD))
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    assert with_part(once, part(GOOD)) == once


def test_a_page_without_a_place_is_not_spoiled() -> None:
    with pytest.raises(ValueError, match="no place"):
        with_part("text", part(GOOD))
