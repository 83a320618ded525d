"""One consistent view of configuration, catalogue and upstreams; a request keeps the one it started with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.catalog import Catalogue, StoredAlias, build
from gateway.config.models import Settings
from gateway.limits.values import Bounds
from gateway.pricing.book import PriceBook
from gateway.upstream.client import UpstreamClient, make_client
from gateway.upstream.entra import EntraTokens
from gateway.upstream.port import Transport


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What holds for the requests that start now."""

    settings: Settings
    catalogue: Catalogue
    clients: Mapping[str, UpstreamClient]
    prices: PriceBook
    default_bounds: Bounds
    """Limits of keys that name none."""
    model_names: frozenset[str]
    """Model ids that someone configured or discovered: what metrics may name."""
    max_response_bytes: int
    """As in the settings, which are slower to ask."""

    @property
    def ours(self) -> frozenset[str]:
        """Upstreams behind a process of this gateway."""
        return frozenset(name for name, upstream in self.settings.upstreams.items() if upstream.is_ours)

    @property
    def keeps_answers(self) -> bool:
        """Whether any call may be answered from the response cache."""
        targets = self.catalogue.aliases.values()
        return self.settings.cache.enabled or any(target.cache is not None for target in targets)


def make_snapshot(
    settings: Settings,
    aliases: Mapping[str, StoredAlias] | None,
    discovered: Mapping[str, Sequence[Mapping[str, Any]]] | None,
    transports: Mapping[str, Transport],
    runtime: Path,
    tokens: EntraTokens,
) -> Snapshot:
    """Build a snapshot; `aliases` None means those of the file."""
    catalogue = build(settings, aliases, discovered)
    targets = catalogue.aliases.values()
    return Snapshot(
        settings=settings,
        catalogue=catalogue,
        prices=PriceBook(settings),
        default_bounds=Bounds.of(settings.limits.default.model_dump(), Bounds()),
        model_names=frozenset(catalogue.listed_models()).union(
            candidate.model for target in targets for candidate in target.candidates
        ),
        max_response_bytes=settings.server.max_response_bytes,
        clients={
            name: make_client(name, upstream, transports, runtime, tokens)
            for name, upstream in settings.upstreams.items()
        },
    )


class Snapshots:
    """Holds the snapshot in force. Swapping it is one assignment."""

    def __init__(self, first: Snapshot) -> None:
        self.current = first
        self.generation = 0

    def swap(self, fresh: Snapshot) -> None:
        """Put another snapshot in force; requests in flight keep theirs."""
        self.current = fresh
        self.generation += 1
