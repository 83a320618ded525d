"""The bundled table: its rows, and where they hold."""

from typing import Any

import pytest

from gateway.catalog import build
from gateway.catalog.retirements import retirements, retirements_at
from gateway.catalog.shutdown import is_day
from gateway.config.upstream import UpstreamSettings
from tests.unit.catalog.test_catalogue import ANYONE, settings

FT = "ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123"
OWNED = {"owns": ["acme"]}


def date_of(
    model: str,
    upstream: dict[str, Any] | None = None,
    listed: dict[str, Any] | None = None,
) -> str | None:
    discovered = {"a": [{"id": model, **listed}]} if listed is not None else None
    read = settings({"a": OWNED if upstream is None else upstream})
    return build(read, None, discovered).homes["a"].shutdown_date(model)


def test_every_row_has_a_day_a_source_and_the_day_it_was_read() -> None:
    rows = retirements()
    assert len({(row.kind, row.model) for row in rows}) == len(rows)
    for row in rows:
        assert is_day(row.date)
        assert is_day(row.read)
        assert row.source
        assert row.kind not in {"azure", "demo"}


def test_no_row_stands_behind_one_that_hides_it() -> None:
    rows = retirements()
    for place, row in enumerate(rows):
        assert not any(before.covers(row.model) for before in rows[:place]), row


@pytest.mark.parametrize(
    ("model", "date"),
    [
        (FT, "2027-01-14"),
        (FT + ":ckpt-step-100", "2027-01-14"),
        ("ft:gpt-4.1-2025-04-14:acme::x", "2027-01-14"),
        ("ft:gpt-4o-2024-08-06:acme::x", "2027-01-14"),
        ("ft:gpt-4o-mini-2024-07-18:acme:name", "2027-01-14"),
        ("ft:gpt-4o:acme::x", "2027-01-14"),
        ("ft:gpt-4.1-nano-2025-04-14:acme::x", "2026-10-23"),
        ("ft:o4-mini-2025-04-16:acme::x", "2026-10-23"),
        ("ft:gpt-3.5-turbo-0125:acme::x", "2026-10-23"),
        ("ft:gpt-5-mini:acme::x", None),
        ("gpt-4.1-mini-2025-04-14", "2027-01-14"),
        ("gpt-4.1-mini-2025-04-14.ft-0123456789abcdef0123456789abcdef", None),
        ("ada:ft-acme-2023-01-01-00-00-00", None),
        ("FT:gpt-4o:acme::x", None),
        ("gpt-6-luna", None),
    ],
)
def test_what_ends_when_at_the_official_api(model: str, date: str | None) -> None:
    assert date_of(model) == date


def test_a_fine_tune_and_its_base_end_on_the_same_day() -> None:
    for base in ("gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14", "gpt-4.1-nano-2025-04-14"):
        assert date_of(base) == date_of(f"ft:{base}:acme::x")
    for base in ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "gpt-4o-mini-2024-07-18", "o4-mini-2025-04-16"):
        assert date_of(base) == date_of(f"ft:{base}:acme::x")


def test_rows_of_fine_tunes_hold_at_relays_and_those_of_bases_where_official_ones_are_meant() -> None:
    base = "gpt-4.1-mini-2025-04-14"
    relay: dict[str, Any] = {"base_url": "https://relay.example/v1"}
    assert date_of(FT, dict(relay)) == "2027-01-14"
    assert date_of(base, dict(relay)) is None
    assert date_of(base, {**relay, "owns": ["acme"]}) == "2027-01-14"
    assert date_of(base, {"base_url": "https://api.openai.com/v1"}) == "2027-01-14"
    assert date_of(base, {"base_url": "https://eu.api.openai.com/v1"}) == "2027-01-14"
    assert date_of(base, {"base_url": "https://notopenai.com/v1"}) is None


def test_the_table_says_nothing_of_the_demo() -> None:
    assert date_of(FT, {"kind": "demo", "base_url": None, "owns": ["*"]}) is None


def test_nor_of_azure() -> None:
    azure = UpstreamSettings(kind="azure", base_url="https://a.openai.azure.com", owns=("*",))
    assert retirements_at(azure) == ()


class TestPrecedence:
    def test_the_configuration_beats_the_upstream_and_that_beats_the_table(self) -> None:
        stated = {"shutdown_date": "2030-01-01"}
        assert date_of(FT, listed=stated) == "2030-01-01"
        assert date_of(FT, {**OWNED, "shutdown_dates": {FT: "2031-01-01"}}, stated) == "2031-01-01"
        assert date_of(FT, {**OWNED, "shutdown_dates": {"ft:*": None}}, stated) is None

    @pytest.mark.parametrize("stated", [None, "", "soon", "2030-1-1", "20300101", "2030-02-30", 5])
    def test_a_list_without_a_day_says_nothing(self, stated: object) -> None:
        assert date_of(FT, listed={"shutdown_date": stated}) == "2027-01-14"

    def test_an_id_beats_a_glob_wherever_it_stands(self) -> None:
        dates = {"ft:*": "2031-01-01", FT: "2032-01-01", "ft:gpt-4*": "2033-01-01"}
        assert date_of(FT, {**OWNED, "shutdown_dates": dates}) == "2032-01-01"

    def test_of_globs_the_first_that_fits_counts(self) -> None:
        dates = {"gpt-*": "2030-01-01", "ft:gpt-4*": "2031-01-01", "ft:*": None}
        assert date_of(FT, {**OWNED, "shutdown_dates": dates}) == "2031-01-01"

    def test_who_says_so_is_known(self) -> None:
        home = build(settings({"a": {**OWNED, "shutdown_dates": {"x": "2030-01-01"}}})).homes["a"]
        said = home.shutdown(FT)
        assert said is not None
        assert said.known_from == "table"
        assert said.source is not None
        assert said.source.endswith("(read 2026-11-23)")
        stated = home.shutdown("x")
        assert stated is not None
        assert (stated.known_from, stated.source) == ("config", None)


def test_candidates_carry_the_date() -> None:
    known = build(settings({"a": dict(OWNED)}, {"s": {"model": FT}}))
    assert [c.shutdown_date for c in known.resolve("s", ANYONE).candidates] == ["2027-01-14"]
