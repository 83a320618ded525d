"""Warnings of a configuration that need to know when models end."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.catalog.build import build, imagine
from gateway.catalog.sunset import end_of, last_day, own_candidates, successor_block
from gateway.config import AliasSettings, Problem, Settings, check
from gateway.config.problem import Path, quote, render_path


def advise(settings: Settings) -> list[Problem]:
    """Everything the operator should know of a good file, in its order. It serves all the same."""
    places = settings.places
    found = check(settings)
    found += [
        Problem(render_path(path), places.line(path), message, places.name)
        for path, message in _early_successors(settings)
    ]
    return sorted(found, key=lambda problem: problem.line or 0)


def _early_successors(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Planned moves to what ends no later than what it takes over from, by the dates known without asking."""
    catalogue = build(settings)
    blocks = {
        name: alias.model_dump(mode="json", exclude_unset=True) for name, alias in settings.aliases.items()
    }
    for name, alias in settings.aliases.items():
        end = end_of(own_candidates(catalogue.aliases[name]))
        if alias.sunset is None or end is None:
            continue
        block = AliasSettings.model_validate(successor_block(settings, blocks, blocks[name]))
        after = last_day(imagine(settings, catalogue, settings.aliases, name, block))
        if after and after <= end:
            successor = quote(alias.sunset.switch_to)
            yield (
                ("aliases", name, "sunset", "switch_to"),
                f"{successor} and its fallbacks end by {after}, the model before them on {end}",
            )
