"""What this replica serves now: the configuration in force, the aliases and the discovered models.

Aliases live in the store, where other replicas change them too; the file is one of their authors. Each change
makes a new `Snapshot`, which is pushed to the workers as one state.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from pydantic import ValidationError

from gateway.catalog import Catalogue, StoredAlias, build
from gateway.config import AliasSettings, Settings
from gateway.control.link import State
from gateway.store.alias_repository import AliasRevision, Block, StoredCatalogue
from gateway.store.errors import StoreError

if TYPE_CHECKING:
    from gateway.pricing.book import PriceBook

log = structlog.get_logger(__name__)

POLL_S = 1.0
"""How long another replica's change may go unnoticed."""


class CatalogueStore(Protocol):
    """Where aliases and discovered models are kept."""

    async def epoch(self) -> int:
        """Grows with every change."""

    async def read(self) -> StoredCatalogue:
        """All of it."""

    async def sync_file(self, blocks: Mapping[str, Block], *, now: int) -> dict[str, AliasRevision]:
        """Bring in the file's aliases."""


@dataclass(frozen=True)
class Snapshot:
    """One state of this replica.

    `aliases` leaves out what this version cannot read; `alias_settings` are the same aliases, read.
    """

    generation: int
    text: str
    settings: Settings
    aliases: Mapping[str, AliasRevision]
    alias_settings: Mapping[str, AliasSettings]
    discovered: Mapping[str, list[Any]]
    catalogue: Catalogue

    @cached_property
    def prices(self) -> PriceBook:
        """What models cost under this configuration."""
        from gateway.pricing.book import PriceBook  # noqa: PLC0415  # slow to load, and few ask

        return PriceBook(self.settings)

    def state(self) -> State:
        """This snapshot as the workers get it."""
        return State(
            generation=self.generation,
            config=self.text,
            config_sha=hashlib.sha256(self.text.encode()).hexdigest(),
            aliases={
                name: {"block": alias.block, "revision": alias.revision}
                for name, alias in self.aliases.items()
            },
            discovered=self.discovered,
        )


class SnapshotKeeper:
    """Keeps the current snapshot and hands every new one to `push`.

    Until the store was seen once there is no snapshot and nothing is pushed: aliases changed through the API
    are only there, and serving the file's old ones would be a step back. Workers that have a state keep it.

    Args:
        store: where aliases are kept.
        push: given every new state.
        text, settings: the configuration in force at the start.
        clock: unix seconds; the first generation is made of it, so that generations grow over restarts.
    """

    def __init__(
        self,
        store: CatalogueStore,
        push: Callable[[State], None],
        text: str,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._push = push
        self._clock = clock
        self._generation = int(clock() * 1000)
        self._text = text
        self._settings = settings
        self._file_is_synced = False
        self._stored: StoredCatalogue | None = None
        self._current: Snapshot | None = None
        self._published: tuple[object, ...] | None = None
        self._turn = asyncio.Lock()

    @property
    def settings(self) -> Settings:
        """The configuration in force."""
        return self._settings

    @property
    def text(self) -> str:
        """The text of the configuration in force."""
        return self._text

    @property
    def current(self) -> Snapshot | None:
        """The current snapshot; None before the store was seen."""
        return self._current

    async def use_config(self, text: str, settings: Settings) -> int:
        """Put a new configuration in force, its aliases included; returns the generation that has it.

        While the store is away the file's aliases wait for it, all else is in force at once.
        """
        self._text, self._settings, self._file_is_synced = text, settings, False
        try:
            await self.refresh()
        except StoreError as error:
            log.warning("the file's aliases wait for the store", error=str(error))
            self._publish()
        return self._generation

    async def refresh(self) -> int:
        """Take over what the store has now, after what the file has to say to it; returns the generation.

        Raises `StoreError`.
        """
        async with self._turn:
            if not self._file_is_synced:
                await self._sync_file()
            self._stored = await self._store.read()
            self._publish()
            return self._generation

    async def watch(self) -> None:
        """Follow changes by other replicas, for ever."""
        is_away = False
        while True:
            try:
                if await self._is_behind():
                    await self.refresh()
                is_away = False
            except StoreError as error:
                if not is_away:
                    log.warning("aliases cannot be followed while the store is away", error=str(error))
                is_away = True
            await asyncio.sleep(POLL_S)

    async def _is_behind(self) -> bool:
        if self._stored is None or not self._file_is_synced:
            return True
        epoch = await self._store.epoch()
        if epoch < self._stored.epoch:
            log.warning("the store has lost its aliases; the file's are brought in again")
            self._file_is_synced = False
        return epoch != self._stored.epoch

    async def _sync_file(self) -> None:
        settings = self._settings
        blocks = {name: block_of(alias) for name, alias in settings.aliases.items()}
        made = await self._store.sync_file(blocks, now=int(self._clock()))
        for name, revision in made.items():
            deleted = revision.block is None
            log.info("the file changed an alias", alias=name, revision=revision.revision, deleted=deleted)
        self._file_is_synced = self._settings is settings

    def _publish(self) -> None:
        if self._stored is None:
            return
        basis = (self._text, self._stored.aliases, self._stored.discovered)
        if basis == self._published:
            return
        self._published = basis
        self._generation += 1
        read = {name: _read(name, alias) for name, alias in self._stored.aliases.items()}
        alias_settings = {name: settings for name, settings in read.items() if settings is not None}
        aliases = {name: self._stored.aliases[name] for name in alias_settings}
        stored = {name: StoredAlias(alias.block or {}, alias.revision) for name, alias in aliases.items()}
        discovered = self._stored.discovered
        self._current = Snapshot(
            self._generation,
            self._text,
            self._settings,
            aliases,
            alias_settings,
            discovered,
            build(self._settings, stored, discovered),
        )
        self._push(self._current.state())


def block_of(alias: AliasSettings) -> Block:
    """An alias as its author wrote it: only the fields that were given."""
    return alias.model_dump(mode="json", exclude_unset=True)


def _read(name: str, alias: AliasRevision) -> AliasSettings | None:
    try:
        return AliasSettings.model_validate(alias.block)
    except ValidationError as error:
        log.warning("an alias was written by another version and is left out", alias=name, why=str(error))
        return None
