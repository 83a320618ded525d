"""Planned moves on a real store, with the clock in the test's hand; no day here has to do with today."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from gateway.cli.main import tunegate
from gateway.config import load
from gateway.control import sunset_keeping
from gateway.control.snapshot import SnapshotKeeper
from gateway.control.sunset_keeping import SunsetKeeping
from gateway.store.alias_repository import AliasRepository, AliasRevision, Moved
from gateway.store.client import Store
from gateway.telemetry.counters import Counters
from tests.integration.control.running import ADMIN_KEY, RunningControl
from tests.support.polling import until
from tests.support.valkey import ValkeyServer

END = "2040-06-15"
FILE = """
upstreams:
  a:
    base_url: "http://127.0.0.1:9/v1"
    owns: [acme]
    shutdown_dates: {"ft:*": 2040-06-15, gpt-old: 2040-06-15, gpt-new: null}
rewrites: {short: {drop: [top_p]}}
aliases:
  support:
    model: ft:gpt-4o:acme::old
    fallbacks: [gpt-old]
    sunset: {switch_to: support-v2, days_before: 7}
  support-v2: {model: gpt-new, defaults: {temperature: 0.5}, rewrite: short, fallbacks: [gpt-old]}
"""


def at(day: str, hour: int = 12) -> float:
    return (datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=hour)).timestamp()


@dataclass
class Replica:
    """One control process's part of it, with a clock of its own."""

    store: Store
    text: str = FILE
    now: float = at("2040-06-01")
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.aliases = AliasRepository(self.store)
        settings = load(self.text, base=Path("/"), env={}, name="f")
        self.keeper = SnapshotKeeper(self.aliases, lambda _: None, self.text, settings, lambda: self.now)
        self.sunset = SunsetKeeping(self.aliases, self.keeper, self.counters, lambda: self.now)

    async def use(self, text: str) -> None:
        await self.keeper.use_config(text, load(text, base=Path("/"), env={}, name="f"))

    async def look(self, moment: float | None = None) -> list[dict[str, Any]]:
        """Look once, as at a moment; returns what was logged."""
        self.now = moment or self.now
        with capture_logs() as logs:
            await self.sunset.look()
        return [dict(line) for line in logs]

    async def history(self, name: str = "support") -> list[tuple[str, str | None]]:
        found = await self.aliases.revisions(name)
        return [(each.author, each.block and each.block["model"]) for each in found]


@pytest.fixture
async def replica(store: Store) -> Replica:
    made = Replica(store)
    await made.keeper.refresh()
    return made


MOVED = [("file", "ft:gpt-4o:acme::old"), ("sunset", "gpt-new")]


async def test_the_day_before_nothing_moves_and_on_the_day_it_does(replica: Replica) -> None:
    await replica.look(at("2040-06-07", 23))
    assert await replica.history() == MOVED[:1]

    await replica.look(at("2040-06-08", 0))

    assert await replica.history() == MOVED
    assert replica.keeper.current is not None
    current = replica.keeper.current.aliases["support"]
    assert current.block == replica.keeper.current.aliases["support-v2"].block
    assert current.moved == Moved("ft:gpt-4o:acme::old", END, "support-v2")
    assert current.updated_at == int(at("2040-06-08", 0))
    assert replica.keeper.current.catalogue.aliases["support"].candidates[0].model == "gpt-new"


async def test_a_gateway_that_slept_through_the_day_moves_late(replica: Replica) -> None:
    await replica.look(at("2041-01-01"))
    assert await replica.history() == MOVED


async def test_days_before_may_be_none(store: Store) -> None:
    replica = Replica(store, FILE.replace("days_before: 7", "days_before: 0"))
    await replica.keeper.refresh()
    await replica.look(at("2040-06-14", 23))
    assert await replica.history() == MOVED[:1]
    await replica.look(at(END, 0))
    assert await replica.history() == MOVED


async def test_two_replicas_move_once(store: Store, replica: Replica) -> None:
    other = Replica(store)
    await other.keeper.refresh()
    await replica.look(at("2040-06-08"))
    logs = await other.look(at("2040-06-08"))  # it still has the snapshot from before
    assert await replica.history() == MOVED
    assert not [line for line in logs if "taken back" in line["event"] or "moved to" in line["event"]]
    assert other.keeper.current is not None
    assert other.keeper.current.aliases["support"].revision == 2
    await other.look()
    assert await replica.history() == MOVED


async def test_the_store_moves_only_what_is_as_it_was_seen(store: Store) -> None:
    aliases = AliasRepository(store)
    moved = Moved("m", END, "t")
    assert await aliases.move("s", {"model": "n"}, moved, expected=0, now=1) is None
    await aliases.put("s", {"model": "m"}, author="x", now=1)
    assert await aliases.move("s", {"model": "n"}, moved, expected=2, now=1) is None
    epoch = await aliases.epoch()
    made = await aliases.move("s", {"model": "n", "upstreams": []}, moved, expected=1, now=5)
    assert made == AliasRevision(2, "sunset", 5, {"model": "n", "upstreams": []}, moved)
    assert await aliases.get("s") == made
    assert (await aliases.revisions("s"))[-1] == made
    assert await aliases.epoch() == epoch + 1
    assert await aliases.move("s", {"model": "o"}, moved, expected=1, now=6) is None
    await aliases.delete("s", author="x", now=7)
    assert await aliases.move("s", {"model": "o"}, moved, expected=3, now=8) is None


async def test_a_rollback_is_respected_and_said_once(replica: Replica) -> None:
    await replica.look(at("2040-06-08"))
    old = (await replica.aliases.revisions("support"))[0].block
    assert old is not None
    await replica.aliases.put("support", old, author="mara", now=1)
    await replica.keeper.refresh()

    logs = [
        line for day in ("2040-06-08", "2040-06-09", "2040-06-20") for line in await replica.look(at(day))
    ]

    assert await replica.history() == [*MOVED, ("mara", "ft:gpt-4o:acme::old")]
    assert [line["event"] for line in logs if "taken back" in line["event"]] == [
        "a move was taken back and is not made again"
    ]
    assert [line["move"] for line in logs if line["event"] == "a model ends"] == ["put_back"]


async def test_another_date_or_successor_is_another_move(replica: Replica) -> None:
    await replica.look(at("2040-06-08"))
    old = (await replica.aliases.revisions("support"))[0].block
    assert old is not None
    await replica.aliases.put("support", old, author="mara", now=1)
    await replica.use(FILE.replace('"ft:*": 2040-06-15', '"ft:*": 2040-06-16'))
    await replica.look(at("2040-06-08"))
    assert len(await replica.history()) == 3
    await replica.look(at("2040-06-09"))
    assert (await replica.history())[3:] == [("sunset", "gpt-new")]
    await replica.aliases.put("support", {**old, "sunset": {"switch_to": "gpt-new"}}, author="mara", now=1)
    await replica.keeper.refresh()
    await replica.look(at("2040-06-09"))
    assert (await replica.history())[4:] == [("mara", "ft:gpt-4o:acme::old"), ("sunset", "gpt-new")]


async def test_the_file_does_not_undo_a_move(replica: Replica) -> None:
    await replica.look(at("2040-06-08"))
    await replica.use(FILE + "  other: {model: gpt-new}\n")
    await replica.look()
    assert await replica.history() == MOVED


async def test_a_change_that_came_between_is_not_lost(store: Store, replica: Replica) -> None:
    await AliasRepository(store).put("support", {"model": "by-hand"}, author="mara", now=1)
    await replica.look(at("2040-06-08"))  # on the snapshot from before
    await replica.look()
    assert await replica.history() == [*MOVED[:1], ("mara", "by-hand")]


async def test_moves_follow_each_other_where_the_successor_is_due_too(store: Store) -> None:
    chain = FILE.replace(
        "support-v2: {model: gpt-new", "support-v2: {model: gpt-old, sunset: {switch_to: v3}"
    )
    chain = chain.replace("fallbacks: [gpt-old]}", "fallbacks: [v3]}\n  v3: {model: gpt-new}")
    replica = Replica(store, chain)
    await replica.keeper.refresh()
    for _ in range(3):
        await replica.look(at("2040-06-10"))
    assert replica.keeper.current is not None
    assert {
        name: each.block and each.block["model"] for name, each in replica.keeper.current.aliases.items()
    } == (dict.fromkeys(("support", "support-v2", "v3"), "gpt-new"))


@pytest.mark.parametrize(
    ("dates", "moves"),
    [
        ('{"ft:*": 2040-06-15}', True),
        ('{"ft:*": 2040-06-01}', True),
        ('{"ft:*": 2040-07-15}', False),  # it lives on there
        ('{"ft:*": null}', False),
    ],
)
async def test_the_upstream_that_ends_it_last_counts(store: Store, dates: str, moves: bool) -> None:
    more = f"""
  b: {{base_url: "http://127.0.0.1:9/v1", owns: [acme], models: [], shutdown_dates: {dates}}}
  c: {{base_url: "http://127.0.0.1:9/v1", owns: [other], models: []}}
rewrites:"""
    replica = Replica(store, FILE.replace("\nrewrites:", more))
    await replica.keeper.refresh()
    await replica.look(at("2040-06-10"))
    assert (await replica.history() == MOVED) == moves


async def test_no_known_end_no_move(store: Store) -> None:
    replica = Replica(store, FILE.replace('"ft:*": 2040-06-15', '"ft:*": null'))
    await replica.keeper.refresh()
    assert await replica.look(at("2099-01-01")) == []
    assert await replica.history() == MOVED[:1]


async def test_nothing_moves_to_what_cannot_serve(store: Store) -> None:
    replica = Replica(store, FILE.replace("gpt-new: null", "gpt-new: 2040-06-01"))
    await replica.keeper.refresh()
    old = FILE.replace("fallbacks: [gpt-old]}", "}").replace("gpt-new: null", "gpt-new: 2040-06-01")
    await replica.use(old)
    logs = [line for _ in range(2) for line in await replica.look(at("2040-06-10"))]
    assert [line["event"] for line in logs if "cannot move" in line["event"]] == [
        "an alias cannot move: nothing serves its successor"
    ]
    assert await replica.history() == MOVED[:1]


async def test_nor_to_what_would_not_fit(store: Store, replica: Replica) -> None:
    await AliasRepository(store).put("support-v2", {"model": "gpt-new", "rewrite": "gone"}, author="x", now=1)
    await replica.keeper.refresh()
    logs = [line for _ in range(2) for line in await replica.look(at("2040-06-10"))]
    [line] = [line for line in logs if "does not fit" in line["event"]]
    assert "unknown rewrite" in str(line["why"])
    assert await replica.history() == MOVED[:1]


async def test_warnings_come_once_for_each_threshold(store: Store) -> None:
    replica = Replica(store, FILE.replace("days_before: 7", "days_before: 0"))
    await replica.keeper.refresh()
    said = []
    for day in range(70, 0, -1):
        moment = at(END) - day * 86400
        logs = await replica.look(moment) + await replica.look(moment)
        said += [
            (line["alias"], line["threshold"], line["days"])
            for line in logs
            if line["event"] == "a model ends"
        ]
    assert said == [("support", 60, 60), ("support", 30, 30), ("support", 7, 7)]


async def test_days_are_a_gauge_of_every_model_with_a_known_end(replica: Replica) -> None:
    def days() -> dict[tuple[str, ...], float]:
        report = replica.counters.totals()["gauges"]
        return {tuple(labels): value for labels, value in report["tunegate_model_days_to_shutdown"]}

    await replica.look(at("2040-06-05"))
    assert days() == {
        ("support", "ft:gpt-4o:acme::old"): 10,
        ("support", "gpt-old"): 10,
        ("support-v2", "gpt-old"): 10,
    }
    await replica.look(at("2040-06-16"))  # it moves
    assert days() == {("support-v2", "gpt-old"): -1}
    await replica.look()
    assert days() == {("support", "gpt-old"): -1, ("support-v2", "gpt-old"): -1}


async def test_while_the_store_is_away_warnings_go_on_and_moves_wait(
    valkey: ValkeyServer, store: Store
) -> None:
    away = Store(valkey.url, timeout_s=5)
    await away.open()
    replica = Replica(away)
    await replica.keeper.refresh()
    await away.aclose()
    logs = [line for _ in range(2) for line in await replica.look(at("2040-06-10"))]
    assert [line["event"] for line in logs] == ["a planned move waits for the store", "a model ends"]
    assert replica.counters.totals()["gauges"]["tunegate_model_days_to_shutdown"]
    back = Replica(store)
    await back.keeper.refresh()
    await back.look(at("2040-06-10"))
    assert await back.history() == MOVED


class TestServed:
    """Through a whole control plane, whose clock is the real one: dates are made from it."""

    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sunset_keeping, "EVERY_S", 0.02)

    @staticmethod
    def text(days: int) -> str:
        return FILE.replace(END, (datetime.now(UTC) + timedelta(days=days)).date().isoformat())

    @staticmethod
    def run(control: RunningControl, *arguments: str) -> tuple[int, str]:
        env = {"TUNEGATE_ADMIN_KEY": ADMIN_KEY, "TUNEGATE_ADMIN_URL": control.url}
        with capture_logs():
            result = CliRunner(env=env).invoke(tunegate, arguments)
        return result.exit_code, result.output

    async def test_a_move_stands_in_the_history_and_can_be_rolled_back(
        self, start_control: Callable[..., Any]
    ) -> None:
        control: RunningControl = await start_control(self.text(days=4))

        async def newest() -> Any:
            return (await control.call("GET", "/aliases/support/revisions"))["data"][0]

        await until(lambda: control.plane.keeper.current.aliases["support"].revision == 2, "the move")  # type: ignore[union-attr]  # it has a plane here
        move = await newest()
        assert (move["author"], move["model"], move["moved"]["to"]) == ("sunset", "gpt-new", "support-v2")
        await control.call("POST", "/aliases/support/rollback", {"revision": 1})
        for _ in range(3):
            await control.plane._sunset.look()
        assert (await newest())["revision"] == 3
        shown = (await control.call("GET", "/sunset"))["data"][0]
        assert (shown["name"], shown["move"]["state"]) == ("support", "put_back")
        assert shown["dark_from"] is not None
        await control.call(
            *("PUT", "/aliases/x", {"model": "gpt-new"}), expect=400, x_tunegate_author="sunset"
        )

    async def test_what_is_ahead_by_route_and_command(self, start_control: Callable[..., Any]) -> None:
        control: RunningControl = await start_control(self.text(days=20) + "  plain: {model: gpt-old}\n")
        found = await control.call("GET", "/sunset?limit=1")
        assert (found["data"][0]["name"], found["has_more"], found["next"]) == ("plain", True, "plain")
        found = await control.call("GET", "/sunset?after=plain")
        assert [each["name"] for each in found["data"]] == ["support", "support-v2"]
        support = found["data"][0]
        assert support["serves_then"] == {"model": "gpt-new", "upstream": "a", "by": "move"}
        assert (support["warning"], support["dark_from"], support["move"]["state"]) == (30, None, "planned")
        assert (await control.call("GET", "/sunset?within=5"))["data"] == []

        status, output = await asyncio.to_thread(self.run, control, "sunset", "--json")
        assert status == 0
        assert [each["name"] for each in json.loads(output)["data"]] == ["plain", "support", "support-v2"]
        status, output = await asyncio.to_thread(self.run, control, "sunset", "--within", "30")
        assert status == 1, output  # `plain` goes dark
        assert "gpt-new at a (move)" in output
        status, output = await asyncio.to_thread(self.run, control, "sunset", "--within", "5")
        assert status == 0, output
        metrics = (await control.http.get("/metrics")).text
        assert 'tunegate_model_days_to_shutdown{alias="plain",model="gpt-old"}' in metrics
