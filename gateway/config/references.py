"""What must hold between the parts of the file: names that exist, owners of `ft:` ids, no circles.

Each rule is a generator of findings over a draft, so that it also runs beside other mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from gateway.config.alias import AliasSettings, FallbackSettings
from gateway.config.kinds import kind_findings
from gateway.config.models import Settings
from gateway.config.problem import Path, did_you_mean, quote
from gateway.config.upstream import UpstreamSettings
from gateway.config.validation import Draft, Finding
from gateway.domain.model_id import parse_model_id

BASE = "base"
"""In `fallbacks`: the base parsed out of the alias's `ft:` id."""


def broken_references(draft: Draft, settings: Settings) -> Iterator[Finding]:
    """Every rule's findings."""
    yield from _listeners(draft, settings)
    yield from _replicas(draft, settings)
    yield from _upstreams(draft, settings)
    for name in settings.aliases:
        yield from alias_references(draft, settings, name)
    yield from _circles(settings)


def may_serve(upstream: UpstreamSettings, model: str) -> bool:
    """True where the file does not rule out that `upstream` serves `model`; `ft:` ids go by `owns` alone."""
    parsed = parse_model_id(model)
    if parsed.needs_owner:
        return parsed.is_owned_by(upstream.owns)
    if upstream.listed is None:
        return True
    if isinstance(upstream.models, Mapping):
        return model in upstream.models or model in upstream.deployments
    return any(fnmatchcase(model, pattern) for pattern in upstream.listed)


def target_of(settings: Settings, alias: AliasSettings, fallback: FallbackSettings) -> str | None:
    """The model id a fallback stands for; None for `base` where the alias's id has none."""
    if fallback.model == BASE:
        return parse_model_id(alias.model).base
    other = settings.aliases.get(fallback.model)
    return other.model if other is not None else fallback.model


def alias_references(draft: Draft, settings: Settings, name: str) -> Iterator[Finding]:
    """The rules for one alias, its fallbacks included, but for circles."""
    alias = settings.aliases[name]
    path: Path = ("aliases", name)
    if name == BASE:
        yield path, '"base" is taken: in fallbacks it means the base of an ft: id'
    yield from _target(draft, settings, path, alias, alias.model)
    for index, fallback in enumerate(alias.fallbacks):
        here = (*path, "fallbacks", index)
        model = target_of(settings, alias, fallback)
        if model is None and draft.is_sound((*path, "model")):
            shown = draft.show((*path, "model"), alias.model)
            yield here, f'"base" needs an ft: id to read it from, and the alias\'s model is {shown}'
        yield from _target(draft, settings, here, fallback, model)
    yield from _successor(draft, settings, path, alias)


def _successor(draft: Draft, settings: Settings, path: Path, alias: AliasSettings) -> Iterator[Finding]:
    """A planned move leads to an alias, or to a model that some upstream may serve."""
    here = (*path, "sunset", "switch_to")
    if alias.sunset is None or not draft.is_sound(here):
        return
    successor, known = alias.sunset.switch_to, _names(draft, "aliases", settings.aliases)
    if successor in known:
        return
    if successor == BASE:
        yield here, "the base of an ft: id ends on the same day: name an alias or another model"
    elif successor == alias.model and draft.is_sound((*path, "model")):
        yield here, "this is the model that ends: name the one that takes over"
    elif not any(may_serve(upstream, successor) for upstream in settings.upstreams.values()):
        shown = draft.show(here, successor)
        yield (
            here,
            f"{shown} is no alias, and no upstream serves a model of this id{did_you_mean(successor, known)}",
        )


def _target(
    draft: Draft, settings: Settings, path: Path, target: AliasSettings | FallbackSettings, model: str | None
) -> Iterator[Finding]:
    """Names that an alias or a fallback uses, and whether its upstreams own its model."""
    known = _names(draft, "upstreams", settings.upstreams)
    for index, (upstream, _) in enumerate(target.upstream_order or ()):
        here = (*path, "upstreams", upstream if isinstance(target.upstreams, Mapping) else index)
        if not draft.is_sound(here):
            continue
        if upstream not in known:
            yield here, f"unknown upstream {draft.show(here, upstream)}{did_you_mean(upstream, known)}"
        elif model is not None and draft.is_sound((*path, "model")):
            yield from _owner(draft, settings, here, upstream, model)
    rewrites = _names(draft, "rewrites", settings.rewrites)
    here = (*path, "rewrite")
    if target.rewrite is not None and target.rewrite not in rewrites and draft.is_sound(here):
        yield (
            here,
            f"unknown rewrite {draft.show(here, target.rewrite)}{did_you_mean(target.rewrite, rewrites)}",
        )


def _owner(draft: Draft, settings: Settings, path: Path, upstream: str, model: str) -> Iterator[Finding]:
    parsed = parse_model_id(model)
    owns_path: Path = ("upstreams", upstream, "owns")
    if not parsed.needs_owner or upstream not in settings.upstreams or not draft.is_sound(owns_path):
        return
    owns = settings.upstreams[upstream].owns
    if parsed.is_owned_by(owns):
        return
    owned = ", ".join(draft.show((*owns_path, index), org) for index, org in enumerate(owns)) or "nothing"
    # The id stands at `model`, or is the fallback itself where that is written as a name.
    places = [path[:length] for length in range(2, len(path))]
    hidden = any({place, (*place, "model")} & draft.document.substituted for place in places)
    org = "" if hidden else f", and {quote(model)} has the org segment {quote(parsed.org or '')}"
    yield path, f"upstream {draft.show(path, upstream)} does not own this model: its owns lists {owned}{org}"


def _names(draft: Draft, section: str, sound: Mapping[str, object]) -> list[str]:
    """Names of a section, also of entries that are wrong: a reference to them is no second mistake."""
    data = draft.document.data
    written = data.get(section) if isinstance(data, Mapping) else None
    return list(dict.fromkeys([*(written if isinstance(written, Mapping) else ()), *sound]))


def _listeners(draft: Draft, settings: Settings) -> Iterator[Finding]:
    server, admin = settings.server, settings.admin
    anywhere = {"0.0.0.0", "::"}
    same_host = server.host == admin.host or bool(anywhere & {server.host, admin.host})
    path = ("admin", "port")
    if server.port and server.port == admin.port and same_host and draft.is_sound(path):
        yield path, "the data plane listens on this port already (server.port)"


def _replicas(draft: Draft, settings: Settings) -> Iterator[Finding]:
    path = ("store", "wait_replicas")
    if settings.store.embedded and settings.store.wait_replicas and draft.is_sound(("store", "url")):
        yield path, "the embedded server has no replicas; write 0, or the URL of a store that has"


def _upstreams(draft: Draft, settings: Settings) -> Iterator[Finding]:
    training: str | None = None
    for name, upstream in settings.upstreams.items():
        path: Path = ("upstreams", name)
        yield from kind_findings(draft, path, upstream)
        seen: dict[str, str] = {}
        for header in upstream.headers:
            if (first := seen.setdefault(header.lower(), header)) != header:
                yield (*path, "headers", header), f"the same header as {quote(first)}"
        if upstream.training:
            if training is not None:
                yield (*path, "training"), f"at most one upstream trains, and {training} does already"
            training = training or name


def _circles(settings: Settings) -> Iterator[Finding]:
    """Aliases that lead back to themselves, each circle once, told at its first alias.

    Fallbacks lead on, and so do planned moves: a move gives the alias the fallbacks of its successor.
    """
    done: set[str] = set()
    for start in settings.aliases:
        trail: list[str] = [start]
        ahead = [iter(_next_aliases(settings, start))]
        taken: list[Path] = [()]  # the fallback or move by which the trail leaves each of its aliases
        while trail:
            found = next(ahead[-1], None) if trail[-1] not in done else None
            if found is None:
                done.add(trail.pop())
                ahead.pop()
                taken.pop()
                continue
            name, taken[-1] = found
            if name in trail:
                first = trail.index(name)
                moves = any("sunset" in path[2:3] for path in taken[first:])
                what = "this planned move and what follows it go" if moves else "these fallbacks go"
                yield taken[first], f"{what} in a circle: {' -> '.join([*trail[first:], name])}"
            elif name not in done:
                trail.append(name)
                ahead.append(iter(_next_aliases(settings, name)))
                taken.append(())


def _next_aliases(settings: Settings, name: str) -> Sequence[tuple[str, Path]]:
    alias = settings.aliases[name]
    ahead: list[tuple[str, Path]] = [
        (fallback.model, ("aliases", name, "fallbacks", index))
        for index, fallback in enumerate(alias.fallbacks)
        if fallback.model in settings.aliases and fallback.model != BASE
    ]
    if alias.sunset is not None and alias.sunset.switch_to in settings.aliases:
        ahead.append((alias.sunset.switch_to, ("aliases", name, "sunset", "switch_to")))
    return ahead
