"""Looks at the ends of models all the time: warns, counts the days, and makes the planned moves.

Each replica does it. They do not get in each other's way: a move is made only on the very revision that it
was decided on, so one of them makes it and the others see another revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec
import structlog

from gateway.catalog.sunset import day_of
from gateway.config import ConfigError, load_alias
from gateway.control.snapshot import Snapshot, SnapshotKeeper
from gateway.control.sunset_outlook import ShownSunset, alias_outlook, next_block
from gateway.store.alias_repository import AliasRevision, Block, Moved
from gateway.store.errors import StoreError
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import MODEL_DAYS

log = structlog.get_logger(__name__)

EVERY_S = 30.0
"""How long a move may be late."""


class SunsetStore(Protocol):
    """Where aliases and their revisions are kept."""

    async def revisions(self, name: str) -> list[AliasRevision]:
        """All revisions of an alias, oldest first."""

    async def move(
        self, name: str, block: Block, moved: Moved, *, expected: int, now: int
    ) -> AliasRevision | None:
        """Make the next revision after `expected`, or None."""


def was_put_back(revisions: Sequence[AliasRevision], moved: Moved) -> bool:
    """True where this very move was made once already, so that whoever undid it meant to.

    Another date, model or successor makes it another move.
    """
    return any(revision.moved == moved for revision in revisions)


def due_move(outlook: ShownSunset, today: str) -> Moved | None:
    """The planned move of an alias, where its day ("YYYY-MM-DD") has come."""
    move = outlook.move
    if move is None or move.on is None or outlook.shutdown_date is None or move.on > today:
        return None
    return Moved(model=outlook.model, shutdown_date=outlook.shutdown_date, to=move.to)


class SunsetKeeping:
    """Runs in the control process, one in every replica.

    Args:
        store: where moves are made.
        keeper: knows what is in force.
        counters: of this process.
        clock: unix seconds.
    """

    def __init__(
        self, store: SunsetStore, keeper: SnapshotKeeper, counters: Counters, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._counters = counters
        self._clock = clock
        self._said: set[tuple[object, ...]] = set()

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Look once. While the store is away warnings and days go on, and moves wait for it."""
        snapshot = self._keeper.current
        if snapshot is None:
            return
        today = day_of(self._clock())
        days: dict[tuple[str, ...], float] = {}
        for name in snapshot.aliases:
            outlook = alias_outlook(snapshot, name, today)
            try:
                settled = await self._move_if_due(snapshot, outlook)
            except StoreError as error:
                settled = None
                self._say(("away", name), "a planned move waits for the store", alias=name, why=str(error))
            if settled == "put_back":
                outlook = alias_outlook(snapshot, name, today, is_put_back=True)
            if settled != "moved":
                days |= _days(outlook)
                self._warn(outlook)
        self._counters.replace(MODEL_DAYS, days)

    def _warn(self, outlook: ShownSunset) -> None:
        """Say that the end is near: once for each alias, date and threshold."""
        if outlook.warning is None:
            return
        then, move = outlook.serves_then, outlook.move
        self._say(
            ("near", outlook.name, outlook.model, outlook.shutdown_date, outlook.warning),
            "a model ends",
            alias=outlook.name,
            model=outlook.model,
            shutdown_date=outlook.shutdown_date,
            days=outlook.days,
            threshold=outlook.warning,
            serves_then=None if then is None else f"{then.model} at {then.upstream}",
            moves_to=None if move is None else move.to,
            moves_on=None if move is None else move.on,
            move=None if move is None else move.state,
        )

    async def _move_if_due(
        self, snapshot: Snapshot, outlook: ShownSunset
    ) -> Literal["moved", "put_back"] | None:
        """Make the move of an alias if its day has come, unless it was made before and put back."""
        moved, name = due_move(outlook, day_of(self._clock()).isoformat()), outlook.name
        if moved is None:
            return None
        facts: dict[str, Any] = {"alias": name, **msgspec.to_builtins(moved)}
        revisions = await self._store.revisions(name)
        expected = snapshot.aliases[name].revision
        if len(revisions) != expected:  # somebody was faster, perhaps with this very move
            await self._keeper.refresh()
            return None
        if was_put_back(revisions, moved):
            self._say(("back", name, moved), "a move was taken back and is not made again", **facts)
            return "put_back"
        if outlook.move is not None and outlook.move.state == "stuck":
            self._say(("stuck", name, moved), "an alias cannot move: nothing serves its successor", **facts)
            return None
        block = next_block(snapshot, name)
        try:
            _check(snapshot, name, block)
        except ConfigError as refused:
            why = [str(problem) for problem in refused.problems]
            self._say(
                ("unfit", name, moved), "an alias cannot move: its successor does not fit", **facts, why=why
            )
            return None
        made = await self._store.move(name, block, moved, expected=expected, now=int(self._clock()))
        if made is not None:
            log.warning("an alias has moved to its successor", **facts, revision=made.revision)
        await self._keeper.refresh()
        return "moved"

    def _say(self, key: tuple[object, ...], event: str, **facts: Any) -> None:
        """Log a warning, once in the life of this process."""
        if key not in self._said:
            self._said.add(key)
            log.warning(event, **facts)


def _check(snapshot: Snapshot, name: str, block: Block) -> None:
    """Hold a block to the rules for one that somebody sends. Raises `ConfigError`."""
    settings = snapshot.settings.model_copy(update={"aliases": snapshot.alias_settings})
    load_alias(name, block, settings)


def _days(outlook: ShownSunset) -> dict[tuple[str, ...], float]:
    """Days to the end of every model that may serve the alias, where the last upstream's day is known."""
    found: dict[str, list[int | None]] = {}
    for target in outlook.targets:
        if target.unable is None:
            found.setdefault(target.model, []).append(target.days)
    return {
        (outlook.name, model): max(known)
        for model, days in found.items()
        if len(known := [each for each in days if each is not None]) == len(days)
    }
