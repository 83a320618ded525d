"""What the ends of models mean for a name: when its own model ends, what serves then, when nothing does.

On the day of its shutdown a model is still asked; from the next day on it is not. Days are those of UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from gateway.config.alias import AliasSettings, SunsetSettings
from gateway.config.models import Settings
from gateway.config.references import BASE, may_serve
from gateway.domain.model_id import parse_model_id
from gateway.domain.plan import Candidate, Target

WARN_DAYS = (60, 30, 7)
"""Days before a shutdown at which a warning is due."""


def day_of(unix_s: float) -> date:
    """The day of a moment."""
    return datetime.fromtimestamp(unix_s, UTC).date()


def days_until(day: str, today: date) -> int:
    """Days from `today` to `day` ("YYYY-MM-DD"); below 0 where it is over."""
    return (date.fromisoformat(day) - today).days


def threshold(days: int | None) -> int | None:
    """The warning that holds this many days before a shutdown: 60, 30, 7, or None."""
    return None if days is None else min((each for each in WARN_DAYS if days <= each), default=None)


def own_candidates(target: Target) -> list[Candidate]:
    """Where the target's own model may be served; all its places where none may now."""
    own = [candidate for candidate in target.candidates if candidate.step == 0]
    return [candidate for candidate in own if candidate.skip is None] or own


def end_of(candidates: Sequence[Candidate]) -> str | None:
    """The day on which the last of these ends; None where one of them has no known end, or none is given."""
    days = [candidate.shutdown_date for candidate in candidates]
    known = [day for day in days if day is not None]
    return max(known) if known and len(known) == len(days) else None


def serving(target: Target, day: str) -> Candidate | None:
    """What serves on a day: the first place that may, and where the model has not ended."""
    for candidate in target.candidates:
        if candidate.skip is None and (candidate.shutdown_date is None or candidate.shutdown_date >= day):
            return candidate
    return None


def last_day(target: Target) -> str | None:
    """The last day on which anything serves.

    None where something has no known end; "" where nothing may serve at all.
    """
    able = [candidate for candidate in target.candidates if candidate.skip is None]
    return end_of(able) if able else ""


def day_after(day: str) -> str:
    """The day after "YYYY-MM-DD"; the last day that the calendar has is its own next."""
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    except OverflowError:
        return day


def moves_on(end: str, sunset: SunsetSettings) -> str:
    """The day on which a planned move is due, for a model that ends on `end`."""
    try:
        return (date.fromisoformat(end) - timedelta(days=sunset.days_before)).isoformat()
    except OverflowError:
        return date.min.isoformat()


def successor_block(
    settings: Settings, aliases: Mapping[str, Mapping[str, Any]], block: Mapping[str, Any]
) -> dict[str, Any]:
    """The block that a planned move gives an alias.

    Where the successor is an alias, that one's block as it stands. Where it is a model id, the alias's own
    block with that model: called as the fallback that names it says, else at those of the alias's upstreams
    that may serve it and without a rewrite. The rest of the fallbacks stays, but for a `base` that there is
    no more.

    Args:
        settings: the configuration in force.
        aliases: the blocks in force, by name.
        block: of the alias that moves; it has a `sunset`.
    """
    alias = AliasSettings.model_validate(block)
    if alias.sunset is None:
        raise ValueError("no move is planned")
    successor = alias.sunset.switch_to
    if successor in aliases:
        return dict(aliases[successor])
    named = next((fallback for fallback in alias.fallbacks if fallback.model == successor), None)
    moved: dict[str, Any] = alias.model_dump(mode="json", exclude_unset=True)
    for gone in ("sunset", "rewrite", "fallbacks", "upstreams"):
        moved.pop(gone, None)
    moved["model"] = successor
    if named is not None:
        moved |= named.model_dump(mode="json", exclude_unset=True)
    else:
        _keep_able(moved, alias, settings, successor)
    has_base = parse_model_id(successor).base is not None
    kept = [
        fallback.model_dump(mode="json", exclude_unset=True)
        for fallback in alias.fallbacks
        if fallback is not named and fallback.model != successor and (fallback.model != BASE or has_base)
    ]
    return moved | ({"fallbacks": kept} if kept else {})


def _keep_able(moved: dict[str, Any], alias: AliasSettings, settings: Settings, model: str) -> None:
    """Keep those upstreams of the alias that may serve another model, in order and with weights."""
    able = {
        name: weight
        for name, weight in alias.upstream_order or ()
        if name in settings.upstreams and may_serve(settings.upstreams[name], model)
    }
    if not isinstance(alias.upstreams, Mapping):
        if able:
            moved["upstreams"] = list(able)
    elif any(able.values()):
        moved["upstreams"] = able
