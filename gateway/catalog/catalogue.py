"""One immutable snapshot of every name a client may send."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Raw

from gateway.catalog.retirements import Retirement
from gateway.catalog.shutdown import Shutdown, shutdown_of
from gateway.domain.errors import ModelNotAllowed, ModelNotFound
from gateway.domain.model_id import parse_model_id
from gateway.domain.plan import Candidate, Reason, Target
from gateway.domain.principal import Principal

DEFAULT_FALLBACK_ON = frozenset(
    {
        "connect",
        "timeout",
        "rate_limited",
        "server_error",
        "model_not_found",
        "bad_response",
        "credential",
    }
)
_CACHED_TARGETS = 4096


@dataclass(frozen=True, slots=True)
class StoredAlias:
    """An alias as the control plane keeps it: the block of the configuration file, and its revision."""

    block: Mapping[str, Any]
    revision: int


@dataclass(frozen=True, slots=True)
class Home:
    """What the catalogue needs to know of an upstream.

    Args:
        owns: organisation segments of `ft:` ids that it serves; "*" is all.
        models: ids and globs, or None where any id may be asked for.
        adapters: models chosen by body fields.
        deployments: what it has for a model id, where it knows ids by names of its own; None where it goes by
            the id.
        discovered: models as its own list has them, by id.
        max_concurrency: calls that one process may have in flight there.
        disabled: why nothing can be sent there, or None.
        shutdown_dates: as configured, by id or glob.
        retirements: rows of the bundled table that hold here.
    """

    name: str
    owns: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None
    adapters: Mapping[str, tuple[tuple[str, Raw], ...]] = field(default_factory=dict)
    deployments: Mapping[str, str] | None = None
    discovered: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    credentials: int = 1
    max_concurrency: int | None = None
    disabled: str | None = None
    shutdown_dates: Mapping[str, str | None] = field(default_factory=dict)
    retirements: tuple[Retirement, ...] = ()

    def lists(self, model: str) -> bool:
        """True where the upstream says, or was said, to serve this very id."""
        if model in self.adapters or model in self.discovered:
            return True
        return self.models is not None and any(fnmatchcase(model, glob) for glob in self.models)

    def reason_against(self, model: str) -> tuple[Reason, str] | None:
        """Why it cannot serve this id, or None where it may."""
        if self.disabled is not None:
            return Reason.DISABLED, self.disabled
        identity = parse_model_id(model)
        if identity.needs_owner:
            if identity.is_owned_by(self.owns):
                return None
            return Reason.NOT_OWNED, f'its `owns` does not cover organisation "{identity.org or ""}"'
        if self.models is None or self.lists(model):
            return None
        return Reason.NOT_SERVED, "its `models` do not name this id"

    def shutdown(self, model: str) -> Shutdown | None:
        """When this model ends here, where that is known."""
        return shutdown_of(model, self.shutdown_dates, self.discovered.get(model, {}), self.retirements)

    def shutdown_date(self, model: str) -> str | None:
        """The day this model ends here, "YYYY-MM-DD", where that is known."""
        shutdown = self.shutdown(model)
        return None if shutdown is None else shutdown.date

    def candidate(self, model: str, **placing: Any) -> Candidate:
        """This upstream as a candidate for `model`, able or not."""
        against = self.reason_against(model)
        return Candidate(
            upstream=self.name,
            model=model,
            credentials=self.credentials,
            max_concurrency=self.max_concurrency,
            adapter=self.adapters.get(model, ()),
            deployment=None if self.deployments is None else self.deployments.get(model, model),
            skip=against[0] if against else None,
            detail=against[1] if against else "",
            shutdown_date=self.shutdown_date(model),
            **placing,
        )


class Catalogue:
    """Answers what a name means. Make one with `catalog.build`.

    Args:
        keep: gives a raw model's target its cache policy.
    """

    def __init__(
        self,
        homes: Sequence[Home],
        aliases: Mapping[str, Target],
        keep: Callable[[Target], Target] = lambda target: target,
    ) -> None:
        self._keep = keep
        self.homes = {home.name: home for home in homes}
        self.aliases = dict(aliases)
        self._raw_targets: dict[str, Target | None] = {}

    def homes_for(self, model: str) -> list[Home]:
        """The upstreams that may serve a model id, best first.

        `ft:` ids: those that own it, in file order. Others: those that list or discovered it, then those
        that take any id. Disabled ones keep their place, so that `explain` can name them.
        """
        identity = parse_model_id(model)
        homes = list(self.homes.values())
        if identity.needs_owner:
            return [home for home in homes if identity.is_owned_by(home.owns)]
        listing = [home for home in homes if home.lists(model)]
        return listing + [home for home in homes if home.models is None and home not in listing]

    def resolve(self, name: str, principal: Principal) -> Target:
        """What `name` means for this caller: an alias, else a model id.

        Raises:
            ModelNotFound: nothing has this name; the message holds close matches the caller may use.
            ModelNotAllowed: the key may not use it.
        """
        target = self.aliases.get(name)
        if target is not None:
            if not principal.may_use_alias(name):
                raise ModelNotAllowed(f"This key may not use the alias `{name}`.")
            return target
        target = self.raw_target(name)
        if target is None:
            raise ModelNotFound(self._unknown(name, principal))
        if not principal.may_use_model(name):
            raise ModelNotAllowed(
                f"This key may not use the model `{name}`. Aliases open to it are listed by GET /v1/models."
            )
        return target

    def raw_target(self, model: str) -> Target | None:
        """A model id as a target, or None where no upstream may serve it."""
        if model in self._raw_targets:
            return self._raw_targets[model]
        homes = self.homes_for(model)
        target = None
        # One that takes any id does not know this one; while it is disabled, nobody does.
        is_owned = parse_model_id(model).needs_owner
        if any(is_owned or home.disabled is None or home.lists(model) for home in homes):
            target = Target(
                name=model,
                alias=None,
                release=None,
                candidates=tuple(home.candidate(model) for home in homes),
                fallback_on=DEFAULT_FALLBACK_ON,
            )
            target = self._keep(target)
        if len(self._raw_targets) >= _CACHED_TARGETS:  # names come from clients: bounded
            self._raw_targets.clear()
        self._raw_targets[model] = target
        return target

    def listed_models(self) -> dict[str, list[Home]]:
        """Every raw model id known by name, with the upstreams that serve it."""
        known: dict[str, list[Home]] = {}
        for home in self.homes.values():
            if home.disabled is not None:
                continue
            named = [m for m in home.models or () if not any(c in m for c in "*?[")]
            for model in [*named, *home.adapters, *home.discovered]:
                serving = known.setdefault(model, [])
                if home not in serving and home.reason_against(model) is None:
                    serving.append(home)
        return {model: homes for model, homes in known.items() if homes}

    def _unknown(self, name: str, principal: Principal) -> str:
        known = [alias for alias in self.aliases if principal.may_use_alias(alias)]
        known += [model for model in self.listed_models() if principal.may_use_model(model)]
        close = difflib.get_close_matches(name[:256], known, n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(f'`{match}`' for match in close)}?" if close else ""
        shown = name if len(name) <= 256 else name[:256] + "..."
        return f"The model `{shown}` does not exist or you do not have access to it.{hint}"
