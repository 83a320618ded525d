"""Make a catalogue from the configuration, the aliases in force and what upstreams say they serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from msgspec import Raw
from msgspec.json import Encoder

from gateway.catalog.caching import Caching
from gateway.catalog.catalogue import Catalogue, Home, StoredAlias
from gateway.catalog.retirements import retirements_at
from gateway.config.alias import AliasSettings, FallbackSettings, RewriteSettings
from gateway.config.models import Settings
from gateway.config.upstream import UpstreamSettings
from gateway.domain.model_id import parse_model_id
from gateway.domain.plan import Candidate, Reason, Rewrite, Target

_encode = Encoder().encode


def build(
    settings: Settings,
    aliases: Mapping[str, StoredAlias] | None = None,
    discovered: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Catalogue:
    """Make a snapshot.

    Args:
        settings: the valid configuration.
        aliases: the aliases in force as the store has them; None uses the file's own, as revision 1.
        discovered: model objects of each upstream's own list, by upstream.
    """
    homes = [
        _home(name, upstream, (discovered or {}).get(name, ()))
        for name, upstream in settings.upstreams.items()
    ]
    blocks: dict[str, tuple[AliasSettings, int]] = {}
    if aliases is None:
        blocks = {name: (block, 1) for name, block in settings.aliases.items()}
    else:
        for name, stored in aliases.items():
            blocks[name] = (AliasSettings.model_validate(stored.block), stored.revision)
    catalogue = Catalogue(homes, {}, Caching(settings).keep)
    maker = _maker(settings, catalogue, {name: block for name, (block, _) in blocks.items()})
    for name, (block, revision) in blocks.items():
        catalogue.aliases[name] = maker.target(name, block, revision)
    return catalogue


def imagine(
    settings: Settings,
    catalogue: Catalogue,
    aliases: Mapping[str, AliasSettings],
    name: str,
    block: AliasSettings,
) -> Target:
    """What `name` would mean if `block` were its block.

    Args:
        settings: that `catalogue` was made of.
        catalogue: the snapshot in force.
        aliases: the aliases in force, for fallbacks that name one.
        name: of the alias.
        block: to be tried out.
    """
    return _maker(settings, catalogue, {**aliases, name: block}).target(name, block, 0)


def _maker(settings: Settings, catalogue: Catalogue, blocks: Mapping[str, AliasSettings]) -> _TargetMaker:
    rewrites = {name: compile_rewrite(name, rewrite) for name, rewrite in settings.rewrites.items()}
    return _TargetMaker(catalogue, blocks, rewrites, Caching(settings))


def compile_rewrite(name: str, settings: RewriteSettings) -> Rewrite:
    """A rewrite with its values as JSON already."""
    return Rewrite(
        name=name,
        drop=tuple(settings.drop),
        rename=tuple(settings.rename.items()),
        set=_raw_items(settings.set),
        system_message=(
            _encode({"role": "system", "content": settings.system_prompt}) if settings.system_prompt else None
        ),
    )


def _raw_items(fields: Mapping[str, Any]) -> tuple[tuple[str, Raw], ...]:
    return tuple((name, Raw(_encode(value))) for name, value in fields.items())


def _home(name: str, upstream: UpstreamSettings, discovered: Sequence[Mapping[str, Any]]) -> Home:
    models = upstream.listed
    if models is None and (upstream.discovers or upstream.kind == "demo"):
        models = ()
    return Home(
        name=name,
        owns=tuple(upstream.owns),
        models=models,
        adapters={
            model: _raw_items(upstream.adapter(model))
            for model in (upstream.models if isinstance(upstream.models, Mapping) else ())
        },
        deployments=upstream.deployments if upstream.kind == "azure" else None,
        discovered={str(model["id"]): model for model in discovered if "id" in model},
        credentials=max(1, len(upstream.credentials)),
        max_concurrency=upstream.max_concurrency,
        disabled=upstream.disabled,
        shutdown_dates={
            glob: None if date is None else str(date) for glob, date in upstream.shutdown_dates.items()
        },
        retirements=retirements_at(upstream),
    )


class _TargetMaker:
    """Turns alias blocks into targets; a fallback that names an alias brings that alias's whole chain."""

    def __init__(
        self,
        catalogue: Catalogue,
        blocks: Mapping[str, AliasSettings],
        rewrites: Mapping[str, Rewrite],
        caching: Caching,
    ) -> None:
        self._catalogue = catalogue
        self._blocks = blocks
        self._rewrites = rewrites
        self._caching = caching

    def target(self, name: str, block: AliasSettings, revision: int) -> Target:
        target = Target(
            name=name,
            alias=name,
            release=f"{name}@{revision}/stable",
            candidates=tuple(_numbered(self._chain(block, (name,)))),
            defaults=_raw_items(block.defaults),
            fallback_on=frozenset(str(failure) for failure in block.fallback_on),
            timeouts=block.timeouts.given if block.timeouts else None,
            max_output_tokens=block.max_output_tokens,
            hedge=block.hedge,
        )
        return self._caching.keep(target, block.cache)

    def _chain(
        self, block: AliasSettings, seen: tuple[str, ...], called_as: FallbackSettings | None = None
    ) -> Iterable[list[Candidate]]:
        """The steps of an alias: its own model first, then each fallback.

        `called_as`, a fallback that names this alias, may say other upstreams or another rewrite.
        """
        order, rewrite = block.upstream_order, block.rewrite
        if called_as is not None:
            order, rewrite = called_as.upstream_order or order, called_as.rewrite or rewrite
        yield self._step(block.model, order, rewrite)
        for fallback in block.fallbacks:
            yield from self._fallback(block, fallback, seen)

    def _fallback(
        self, block: AliasSettings, fallback: FallbackSettings, seen: tuple[str, ...]
    ) -> Iterable[list[Candidate]]:
        model = fallback.model
        if model == "base":
            base = parse_model_id(block.model).base
            if base is not None:
                yield self._step(base, fallback.upstream_order, fallback.rewrite)
            return
        other = self._blocks.get(model)
        if other is None:
            yield self._step(model, fallback.upstream_order, fallback.rewrite)
        elif model not in seen:
            yield from self._chain(other, (*seen, model), fallback)

    def _step(
        self, model: str, order: Sequence[tuple[str, int | None]] | None, rewrite: str | None
    ) -> list[Candidate]:
        compiled = self._rewrites.get(rewrite) if rewrite else None
        if order is None:
            return [home.candidate(model, rewrite=compiled) for home in self._catalogue.homes_for(model)]
        step = []
        for upstream, weight in order:
            home = self._catalogue.homes.get(upstream)
            if home is not None:
                step.append(home.candidate(model, rewrite=compiled, weight=weight))
            else:  # an alias of the control plane may outlive an upstream of the file
                gone = "no upstream of this name is configured"
                step.append(Candidate(upstream, model, skip=Reason.DISABLED, detail=gone))
        return step


def _numbered(steps: Iterable[list[Candidate]]) -> Iterable[Candidate]:
    """Number the steps and drop what an earlier step would have tried already."""
    seen = set()
    for number, step in enumerate(steps):
        fresh = [c for c in step if (c.upstream, c.model, c.rewrite and c.rewrite.name) not in seen]
        for candidate in fresh:
            seen.add((candidate.upstream, candidate.model, candidate.rewrite and candidate.rewrite.name))
            yield replace(candidate, step=number)
