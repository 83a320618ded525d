"""What is ahead of every name: when its targets end, what serves then, and where a planned move leads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Literal

from pydantic import BaseModel

from gateway.catalog.build import imagine
from gateway.catalog.sunset import (
    day_after,
    days_until,
    end_of,
    last_day,
    moves_on,
    own_candidates,
    serving,
    successor_block,
    threshold,
)
from gateway.config import AliasSettings
from gateway.control.snapshot import Snapshot
from gateway.domain.model_id import parse_model_id
from gateway.domain.plan import Candidate, Target
from gateway.store.alias_repository import Block

Threshold = Literal[60, 30, 7]


class ShownTarget(BaseModel):
    """A model at an upstream, in the order in which they are tried; `step` 0 is the name's own model.

    `known_from` says who states the date: the configuration, the upstream, or the bundled table, whose source
    stands in `source`. `unable` says why it cannot serve now, whatever the day.
    """

    step: int
    model: str
    upstream: str
    shutdown_date: str | None
    days: int | None
    known_from: Literal["config", "upstream", "table"] | None
    source: str | None
    unable: str | None


class ShownServing(BaseModel):
    """What serves: a model at an upstream, as the name's own model, a fallback, or after the planned move."""

    model: str
    upstream: str
    by: Literal["model", "fallback", "move"]


class ShownBase(BaseModel):
    """The base that an `ft:` id names, where it is a fallback."""

    model: str
    shutdown_date: str | None
    ends_with_it: bool


class ShownMove(BaseModel):
    """A planned move.

    `state`: `planned`; `due`, made within a minute; `put_back`, since somebody took the alias back after it,
    so it is not made again for this date; `stuck`, since its successor cannot serve.
    """

    to: str
    days_before: int
    on: str | None
    state: Literal["planned", "due", "put_back", "stuck"]


class ShownSunset(BaseModel):
    """What is ahead of an alias, or of a model that an upstream lists.

    `shutdown_date` is the day on which the last upstream ends its own model, null where one has no known end.
    `serves_then` is what serves on the day after, null where nothing does or no end is known. `dark_from` is
    the first day on which nothing serves it, the planned move included; null where something has no known
    end. `warning` is the threshold that is passed: 60, 30 or 7 days.
    """

    object: Literal["sunset"] = "sunset"
    name: str
    is_alias: bool
    model: str
    shutdown_date: str | None
    days: int | None
    warning: Threshold | None
    serves_then: ShownServing | None
    base: ShownBase | None
    move: ShownMove | None
    dark_from: str | None
    dark_in_days: int | None
    targets: list[ShownTarget]


def outlooks(snapshot: Snapshot, today: date) -> Iterator[ShownSunset]:
    """Every alias by name, then every model that is listed by name and has a known end."""
    for name in sorted(snapshot.catalogue.aliases):
        yield alias_outlook(snapshot, name, today)
    for model in sorted(snapshot.catalogue.listed_models()):
        target = snapshot.catalogue.raw_target(model)
        if target is None or model in snapshot.catalogue.aliases:
            continue
        if any(candidate.shutdown_date is not None for candidate in target.candidates):
            yield _outlook(snapshot, target, None, None, today)


def alias_outlook(snapshot: Snapshot, name: str, today: date, *, is_put_back: bool = False) -> ShownSunset:
    """One alias; its history tells whether its move was made before and is put back, which changes all."""
    after: Target | None = None
    if snapshot.alias_settings[name].sunset is not None:
        block = AliasSettings.model_validate(next_block(snapshot, name))
        after = imagine(snapshot.settings, snapshot.catalogue, snapshot.alias_settings, name, block)
    target, alias = snapshot.catalogue.aliases[name], snapshot.alias_settings[name]
    return _outlook(snapshot, target, alias, after, today, is_put_back=is_put_back)


def next_block(snapshot: Snapshot, name: str) -> Block:
    """The block that the planned move of an alias would give it now."""
    blocks = {each: alias.block or {} for each, alias in snapshot.aliases.items()}
    return successor_block(snapshot.settings, blocks, blocks[name])


def _outlook(
    snapshot: Snapshot,
    target: Target,
    alias: AliasSettings | None,
    after: Target | None,
    today: date,
    *,
    is_put_back: bool = False,
) -> ShownSunset:
    own = own_candidates(target)
    model = own[0].model if own else target.name
    end = end_of(own)
    days = None if end is None else days_until(end, today)
    move = _move(alias, end, after, today)
    if move is not None and is_put_back:
        move = move.model_copy(update={"state": "put_back"})
    if move is None or move.state in {"stuck", "put_back"}:
        after = None
    dark = _dark_from(target, after, today)
    return ShownSunset(
        name=target.name,
        is_alias=target.alias is not None,
        model=model,
        shutdown_date=end,
        days=days,
        warning=threshold(days),  # type: ignore[arg-type]  # one of the literal's three
        serves_then=None if end is None else _serving(target, after, max(day_after(end), today.isoformat())),
        base=_base(target, model, end),
        move=move,
        dark_from=dark,
        dark_in_days=None if dark is None else days_until(dark, today),
        targets=[_shown(snapshot, candidate, today) for candidate in target.candidates],
    )


def _move(
    alias: AliasSettings | None, end: str | None, after: Target | None, today: date
) -> ShownMove | None:
    if alias is None or alias.sunset is None or after is None:
        return None
    on = None if end is None else moves_on(end, alias.sunset)
    is_due = on is not None and on <= today.isoformat()
    state: Literal["planned", "due", "stuck"] = "due" if is_due else "planned"
    if serving(after, max(on or "", today.isoformat())) is None:
        state = "stuck"
    return ShownMove(to=alias.sunset.switch_to, days_before=alias.sunset.days_before, on=on, state=state)


def _dark_from(target: Target, after: Target | None, today: date) -> str | None:
    lasts = [last_day(each) for each in (target, after) if each is not None]
    known = [day for day in lasts if day is not None]
    if len(known) < len(lasts):
        return None
    last = max(known)
    return day_after(last) if last else today.isoformat()


def _serving(target: Target, after: Target | None, day: str) -> ShownServing | None:
    """What serves on a day; by the planned move where that serves."""
    for each, is_move in ((after, True), (target, False)):
        found = None if each is None else serving(each, day)
        if found is not None:
            by: Literal["model", "fallback", "move"] = "move" if is_move else "fallback"
            if not is_move and found.step == 0:
                by = "model"
            return ShownServing(model=found.model, upstream=found.upstream, by=by)
    return None


def _base(target: Target, model: str, end: str | None) -> ShownBase | None:
    base = parse_model_id(model).base
    places = [each for each in target.candidates if each.step > 0 and each.model == base]
    if base is None or not places:
        return None
    day = end_of([each for each in places if each.skip is None] or places)
    return ShownBase(
        model=base, shutdown_date=day, ends_with_it=end is not None and day is not None and day <= end
    )


def _shown(snapshot: Snapshot, candidate: Candidate, today: date) -> ShownTarget:
    home = snapshot.catalogue.homes.get(candidate.upstream)
    shutdown = home.shutdown(candidate.model) if home is not None else None
    return ShownTarget(
        step=candidate.step,
        model=candidate.model,
        upstream=candidate.upstream,
        shutdown_date=candidate.shutdown_date,
        days=None if candidate.shutdown_date is None else days_until(candidate.shutdown_date, today),
        known_from=shutdown.known_from if shutdown is not None else None,
        source=shutdown.source if shutdown is not None else None,
        unable=candidate.detail or candidate.skip.value if candidate.skip is not None else None,
    )
