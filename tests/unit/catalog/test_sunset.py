"""What the ends of models mean, and the block that a planned move gives."""

from datetime import date
from typing import Any

import pytest

from gateway.catalog import build
from gateway.catalog.advice import advise
from gateway.catalog.sunset import (
    day_after,
    day_of,
    days_until,
    end_of,
    last_day,
    moves_on,
    own_candidates,
    serving,
    successor_block,
    threshold,
)
from gateway.config import SunsetSettings
from gateway.domain.plan import Candidate, Reason, Target
from tests.unit.catalog.test_catalogue import settings

FT = "ft:gpt-4o:acme::old"


def at(shutdown: str | None, step: int = 0, skip: Reason | None = None) -> Candidate:
    return Candidate("u", f"m{step}", step=step, skip=skip, shutdown_date=shutdown)


def target(*candidates: Candidate) -> Target:
    return Target("s", "s", "s@1/stable", candidates)


class TestDays:
    def test_a_day_is_one_of_utc(self) -> None:
        assert day_of(0) == date(1970, 1, 1)
        assert day_of(86_399.9) == date(1970, 1, 1)
        assert day_of(86_400) == date(1970, 1, 2)

    def test_days_to_a_day(self) -> None:
        assert [days_until(day, date(2040, 3, 1)) for day in ("2040-03-02", "2040-03-01", "2040-02-29")] == [
            *(1, 0, -1)
        ]

    @pytest.mark.parametrize(
        ("days", "due"),
        [(None, None), (61, None), (60, 60), (31, 60), (30, 30), (8, 30), (7, 7), (0, 7), (-400, 7)],
    )
    def test_thresholds(self, days: int | None, due: int | None) -> None:
        assert threshold(days) == due

    def test_a_move_is_due_so_many_days_before(self) -> None:
        assert moves_on("2040-03-01", SunsetSettings(switch_to="t")) == "2040-02-23"
        assert moves_on("2040-03-01", SunsetSettings(switch_to="t", days_before=0)) == "2040-03-01"
        assert moves_on("2040-03-01", SunsetSettings(switch_to="t", days_before=10**9)) == "0001-01-01"

    def test_the_last_day_of_the_calendar(self) -> None:
        assert day_after("2039-12-31") == "2040-01-01"
        assert day_after("9999-12-31") == "9999-12-31"


class TestEnds:
    def test_a_model_ends_with_the_last_of_its_places(self) -> None:
        assert end_of([at("2040-01-01"), at("2040-02-01")]) == "2040-02-01"
        assert end_of([at("2040-01-01"), at(None)]) is None
        assert end_of([]) is None

    def test_places_that_cannot_serve_do_not_count_unless_all_are_such(self) -> None:
        able, unable = at("2040-01-01"), at("2041-01-01", skip=Reason.DISABLED)
        assert own_candidates(target(unable, able, at(None, 1))) == [able]
        assert own_candidates(target(unable, at(None, 1))) == [unable]

    def test_on_its_day_it_still_serves(self) -> None:
        found = target(at("2040-01-01"), at("2040-02-01", 1))
        assert [getattr(serving(found, day), "step", None) for day in ("2040-01-01", "2040-01-02")] == [0, 1]
        assert serving(found, "2040-02-02") is None

    def test_the_last_day_of_all(self) -> None:
        assert last_day(target(at("2040-01-01"), at("2040-02-01", 1))) == "2040-02-01"
        assert last_day(target(at("2040-01-01"), at(None, 1))) is None
        assert last_day(target(at(None, skip=Reason.DISABLED))) == ""


class TestSuccessor:
    def block(self, alias: dict[str, Any], others: dict[str, Any] | None = None) -> dict[str, Any]:
        upstreams = {"a": {"owns": ["acme"], "models": ["new"]}, "b": {"owns": ["acme"], "models": []}}
        read = settings(upstreams, rewrites={"r": {}})
        return successor_block(read, others or {}, {"model": FT, **alias})

    def test_an_alias_gives_its_block_as_it_stands(self) -> None:
        block = {
            "model": "new",
            "rewrite": "r",
            "hedge": False,
            "fallbacks": ["x"],
            "sunset": {"switch_to": "y"},
        }
        assert self.block({"sunset": {"switch_to": "t"}, "defaults": {"n": 1}}, {"t": block}) == block

    def test_a_model_takes_over_in_the_aliass_own_block(self) -> None:
        assert self.block(
            {
                "sunset": {"switch_to": "new"},
                "upstreams": ["b", "a"],
                "rewrite": "r",
                "defaults": {"temperature": 0.2},
                "max_output_tokens": 5,
                "fallbacks": ["base", "other"],
            }
        ) == {
            "model": "new",
            "upstreams": ["a"],
            "defaults": {"temperature": 0.2},
            "max_output_tokens": 5,
            "fallbacks": [{"model": "other"}],
        }

    def test_it_is_called_as_the_fallback_that_names_it(self) -> None:
        named = {"model": "new", "upstreams": ["a"], "rewrite": "r"}
        assert self.block(
            {"sunset": {"switch_to": "new"}, "upstreams": ["b"], "fallbacks": ["x", named]}
        ) == {
            **named,
            "fallbacks": [{"model": "x"}],
        }

    def test_weights_of_those_that_may_serve_it_stay(self) -> None:
        moved = {"sunset": {"switch_to": "new"}}
        assert self.block({**moved, "upstreams": {"a": 20, "b": 80}})["upstreams"] == {"a": 20}
        assert "upstreams" not in self.block({**moved, "upstreams": {"a": 0, "b": 80}})
        assert "upstreams" not in self.block({**moved, "upstreams": ["b"]})

    def test_a_fine_tune_after_a_fine_tune_keeps_its_base(self) -> None:
        new = "ft:gpt-5:acme::new"
        assert self.block({"sunset": {"switch_to": new}, "upstreams": ["b", "a"], "fallbacks": ["base"]}) == {
            "model": new,
            "upstreams": ["b", "a"],
            "fallbacks": [{"model": "base"}],
        }

    def test_what_moves_nowhere_has_none(self) -> None:
        with pytest.raises(ValueError, match="no move"):
            self.block({})


class TestAdvice:
    def said(self, dates: dict[str, str | None], successor: str = "t", **more: Any) -> list[str]:
        read = settings(
            {"a": {"owns": ["acme"], "models": ["n"], "shutdown_dates": dates}},
            {"s": {"model": FT, "sunset": {"switch_to": successor}}, "t": {"model": "n", **more}},
        )
        assert build(read)
        return [f"{problem.path}: {problem.message}" for problem in advise(read)]

    @pytest.mark.parametrize("end", ["2040-01-01", "2040-06-15"])
    @pytest.mark.parametrize("successor", ["t", "n"])
    def test_a_successor_that_ends_no_later(self, end: str, successor: str) -> None:
        [line] = self.said({"ft:*": "2040-06-15", "n": end}, successor)
        assert line.startswith("aliases.s.sunset.switch_to: ")
        assert line.endswith(
            f'"{successor}" and its fallbacks end by {end}, the model before them on 2040-06-15'
        )

    def test_one_that_ends_later_or_has_fallbacks_that_do(self) -> None:
        assert self.said({"ft:*": "2040-06-15", "n": "2040-06-16"}) == []
        assert self.said({"ft:*": "2040-06-15"}) == []
        assert self.said({"ft:*": None, "n": "2040-01-01"}) == []
        other = {"model": "n", "upstreams": ["a"]}
        assert self.said({"ft:*": "2040-06-15", "n": "2041-01-01"}, fallbacks=[other]) == []
