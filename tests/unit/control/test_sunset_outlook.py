"""What is ahead of a name. The days are those of the bundled table or of the test, never today's."""

from __future__ import annotations

from datetime import date
from typing import Any

from gateway.catalog import StoredAlias, build
from gateway.control.snapshot import Snapshot, block_of
from gateway.control.sunset_keeping import due_move, was_put_back
from gateway.control.sunset_outlook import ShownSunset, alias_outlook, outlooks
from gateway.store.alias_repository import AliasRevision, Moved
from tests.unit.catalog.test_catalogue import settings

BASE = "gpt-4.1-mini-2025-04-14"
FT = f"ft:{BASE}:acme:support:AbC123"
OFFICIAL: dict[str, dict[str, Any]] = {"openai": {"base_url": "https://api.openai.com/v1", "owns": ["acme"]}}
TODAY = date(2026, 11, 23)


def snapshot(
    aliases: dict[str, Any],
    upstreams: dict[str, Any] | None = None,
    listed: dict[str, list[Any]] | None = None,
) -> Snapshot:
    read = settings({name: dict(each) for name, each in (upstreams or OFFICIAL).items()}, aliases)
    revisions = {name: AliasRevision(1, "file", 1, block_of(alias)) for name, alias in read.aliases.items()}
    stored = {name: StoredAlias(each.block or {}, 1) for name, each in revisions.items()}
    catalogue = build(read, stored, listed)
    return Snapshot(1, "", read, revisions, read.aliases, listed or {}, catalogue)


def ahead(alias: dict[str, Any], today: date = TODAY, **more: Any) -> ShownSunset:
    return alias_outlook(snapshot({"s": alias}, **more), "s", today)


def test_a_base_ends_with_its_fine_tune_and_what_comes_behind_it_serves() -> None:
    found = ahead({"model": FT, "fallbacks": ["base", "gpt-6-luna"]})
    assert (found.shutdown_date, found.days, found.warning) == ("2027-01-14", 52, 60)
    assert found.base is not None
    assert found.base.model_dump() == {
        "model": BASE,
        "shutdown_date": "2027-01-14",
        "ends_with_it": True,
    }
    assert found.serves_then is not None
    assert (found.serves_then.model, found.serves_then.by) == ("gpt-6-luna", "fallback")
    assert (found.dark_from, found.dark_in_days) == (None, None)
    assert [(each.step, each.model, each.known_from) for each in found.targets] == [
        (0, FT, "table"),
        (1, BASE, "table"),
        (2, "gpt-6-luna", None),
    ]
    assert "deprecations page" in str(found.targets[0].source)


def test_without_anything_behind_them_the_alias_goes_dark_on_the_next_day() -> None:
    found = ahead({"model": FT, "fallbacks": ["base"]})
    assert (found.serves_then, found.dark_from, found.dark_in_days) == (None, "2027-01-15", 53)
    over = ahead({"model": FT, "fallbacks": ["base"]}, date(2027, 1, 20))
    assert (over.days, over.dark_in_days) == (-6, -5)


def test_a_base_that_lives_on() -> None:
    upstreams = {"a": {**OFFICIAL["openai"], "shutdown_dates": {BASE: None}}}
    found = ahead({"model": FT, "fallbacks": ["base"]}, upstreams=upstreams)
    assert found.base is not None
    assert (found.base.shutdown_date, found.base.ends_with_it) == (None, False)
    assert found.serves_then is not None
    assert found.serves_then.model == BASE


def test_an_unknown_end_is_no_end() -> None:
    found = ahead({"model": "gpt-6-luna"})
    assert (found.shutdown_date, found.days, found.warning, found.serves_then, found.dark_from) == (
        *(None, None, None, None, None),
    )


def test_one_upstream_may_end_a_model_before_another() -> None:
    upstreams = {
        "a": {"owns": ["acme"]},
        "b": {"owns": ["acme"], "shutdown_dates": {"*": "2027-02-01"}},
        "c": {"owns": ["acme"], "api_keys": [""], "shutdown_dates": {"*": None}},
    }
    found = ahead({"model": FT}, upstreams=upstreams)
    assert (found.shutdown_date, found.dark_from) == ("2027-02-01", "2027-02-02")
    assert [(each.upstream, each.shutdown_date, each.unable is None) for each in found.targets] == [
        ("a", "2027-01-14", True),
        ("b", "2027-02-01", True),
        ("c", None, False),
    ]


def test_an_alias_that_nobody_serves_is_dark_today() -> None:
    found = ahead({"model": "m"}, upstreams={"a": {"api_keys": [""]}})
    assert (found.dark_from, found.dark_in_days) == ("2026-11-23", 0)


class TestMove:
    ALIAS = {"model": FT, "sunset": {"switch_to": "gpt-6-luna"}}  # noqa: RUF012  # nobody changes it

    def test_it_is_planned_then_due(self) -> None:
        before, due = ahead(self.ALIAS, date(2027, 1, 6)), ahead(self.ALIAS, date(2027, 1, 7))
        assert before.move is not None
        assert before.move.model_dump() == {
            "to": "gpt-6-luna",
            "days_before": 7,
            "on": "2027-01-07",
            "state": "planned",
        }
        assert due.move is not None
        assert due.move.state == "due"
        assert due_move(before, "2027-01-06") is None
        assert due_move(due, "2027-01-07") == Moved(FT, "2027-01-14", "gpt-6-luna")

    def test_it_counts_for_what_serves_then(self) -> None:
        found = ahead(self.ALIAS)
        assert found.serves_then is not None
        assert (found.serves_then.model, found.serves_then.by, found.dark_from) == (
            "gpt-6-luna",
            "move",
            None,
        )

    def test_but_not_once_it_was_taken_back(self) -> None:
        made = snapshot({"s": self.ALIAS})
        found = alias_outlook(made, "s", date(2027, 1, 8), is_put_back=True)
        assert found.move is not None
        assert (found.move.state, found.serves_then, found.dark_from) == ("put_back", None, "2027-01-15")

    def test_nor_where_it_leads_to_what_ends_before(self) -> None:
        found = ahead({"model": FT, "sunset": {"switch_to": "gpt-4.1-nano"}})
        assert found.move is not None
        assert (found.move.state, found.dark_from) == ("stuck", "2027-01-15")

    def test_without_a_date_it_waits(self) -> None:
        found = ahead({"model": "m", "sunset": {"switch_to": "n"}})
        assert found.move is not None
        assert (found.move.on, found.move.state) == (None, "planned")
        assert due_move(found, "9999-12-31") is None

    def test_the_very_same_move_in_the_history_was_put_back(self) -> None:
        moved = Moved(FT, "2027-01-14", "t")
        history = [AliasRevision(1, "file", 1, {}), AliasRevision(2, "sunset", 2, {}, moved)]
        assert was_put_back(history, moved)
        assert not was_put_back(history, Moved(FT, "2027-03-01", "t"))
        assert not was_put_back(history, Moved(FT, "2027-01-14", "u"))
        assert not was_put_back(history[:1], moved)


def test_aliases_come_first_then_listed_models_that_end() -> None:
    made = snapshot(
        {"s": {"model": "m"}, "b": {"model": FT}},
        {"a": {"owns": ["acme"], "models": ["gpt-4", "gpt-6-luna", "s"]}},
    )
    assert [(each.name, each.is_alias) for each in outlooks(made, TODAY)] == [
        ("b", True),
        ("s", True),
        ("gpt-4", False),
    ]


def test_the_demo_is_always_as_far_from_its_end() -> None:
    found = ahead(
        {"model": "x"},
        date(2030, 1, 1),
        upstreams={"demo": {"kind": "demo", "base_url": None}},
        listed={"demo": [{"id": "x", "shutdown_date": "2030-03-02"}]},
    )
    assert (found.days, found.warning, found.targets[0].known_from) == (60, 60, "upstream")
