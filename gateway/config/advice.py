"""Warnings of a file that loads: what is allowed and probably not meant."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from gateway.config.alias import AliasSettings, FallbackSettings
from gateway.config.models import Settings
from gateway.config.problem import Path, Problem, did_you_mean, quote, render_path
from gateway.config.references import may_serve, target_of
from gateway.config.validation import Finding


def check(settings: Settings) -> list[Problem]:
    """What the operator should know of a good file, in its order. It serves all the same."""
    places = settings.places
    return [
        Problem(render_path(path), places.line(path), message, places.name)
        for path, message in sorted(_warnings(settings), key=lambda found: places.line(found[0]) or 0)
    ]


def _warnings(settings: Settings) -> Iterator[Finding]:
    if not settings.upstreams:
        yield ("upstreams",), "no upstream is configured: every call will be 404"
    for name, upstream in settings.upstreams.items():
        if upstream.disabled:
            yield ("upstreams", name), f"disabled: {upstream.disabled}"
    by_lower: dict[str, str] = {}
    for name, alias in settings.aliases.items():
        path: Path = ("aliases", name)
        if (first := by_lower.setdefault(name.lower(), name)) != name:
            yield path, f"differs from {quote(first)} only in case: they are two aliases"
        if not _servers(settings, alias, alias.model):
            after = (
                "its fallbacks serve"
                if _has_serving_fallback(settings, alias)
                else "calls get 503 no_upstream"
            )
            yield path, f"no enabled upstream serves its model: {after}"
        for index, fallback in enumerate(alias.fallbacks):
            model = target_of(settings, alias, fallback)
            if model is not None and not _servers(settings, _place(settings, fallback), model):
                yield (*path, "fallbacks", index), "no enabled upstream serves this fallback"
        yield from _successor(settings, path, alias)


def _successor(settings: Settings, path: Path, alias: AliasSettings) -> Iterator[Finding]:
    """A planned move to what nobody serves, or to what may be a misspelt alias."""
    if alias.sunset is None or alias.sunset.switch_to in settings.aliases:
        return  # an alias is checked at its own place
    here, successor = (*path, "sunset", "switch_to"), alias.sunset.switch_to
    if not any(
        upstream.enabled and may_serve(upstream, successor) for upstream in settings.upstreams.values()
    ):
        yield here, "no enabled upstream serves it: the alias will not be moved"
    elif get_close_matches(successor, settings.aliases, n=1, cutoff=0.8):
        hint = did_you_mean(successor, list(settings.aliases))
        yield here, f"{quote(successor)} is no alias and is taken for a model id{hint}"


def _place(settings: Settings, fallback: FallbackSettings) -> AliasSettings | FallbackSettings:
    """What names the upstreams of a fallback: itself, else the alias it leads to."""
    return fallback if fallback.upstreams is not None else settings.aliases.get(fallback.model, fallback)


def _has_serving_fallback(settings: Settings, alias: AliasSettings) -> bool:
    return any(
        model is not None and _servers(settings, _place(settings, fallback), model)
        for fallback in alias.fallbacks
        for model in [target_of(settings, alias, fallback)]
    )


def _servers(settings: Settings, target: AliasSettings | FallbackSettings, model: str) -> list[str]:
    """Enabled upstreams that may serve `model` for this target."""
    names = [name for name, _ in target.upstream_order] if target.upstream_order else list(settings.upstreams)
    return [
        name
        for name in names
        if settings.upstreams[name].enabled and may_serve(settings.upstreams[name], model)
    ]
