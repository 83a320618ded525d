"""Changing aliases through the admin API: each change is a revision, checked like the file's own blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from gateway.config import AliasSettings, load_alias
from gateway.control.errors import NotFound
from gateway.control.link import WorkerLink
from gateway.control.snapshot import SnapshotKeeper, block_of
from gateway.domain.errors import InvalidRequest
from gateway.store.alias_repository import AliasRevision, Block, StoredCatalogue

SWAP_TIMEOUT_S = 2.0  # how long an answer waits for the workers to serve what it says


class AliasStore(Protocol):
    """Where aliases and their revisions are kept."""

    async def read(self) -> StoredCatalogue:
        """Every current alias, among others."""

    async def revisions(self, name: str) -> list[AliasRevision]:
        """All revisions of an alias, oldest first."""

    async def put(self, name: str, block: Block, *, author: str, now: int) -> AliasRevision:
        """Make the next revision."""

    async def delete(self, name: str, *, author: str, now: int) -> AliasRevision | None:
        """Make a revision without block; None where there is no such alias."""


class AliasService:
    """Aliases as the admin API sees them. A change is answered once this replica's workers serve it.

    Args:
        clock: unix seconds.
    """

    def __init__(
        self, store: AliasStore, keeper: SnapshotKeeper, link: WorkerLink, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._link = link
        self._clock = clock

    async def all(self) -> dict[str, AliasRevision]:
        """The current revision of every alias, by name."""
        return (await self._store.read()).aliases

    async def get(self, name: str) -> AliasRevision:
        """The current revision. Raises `NotFound`."""
        found = (await self.all()).get(name)
        if found is None:
            raise _no_such(name)
        return found

    async def revisions(self, name: str) -> list[AliasRevision]:
        """Every revision, oldest first; a deleted alias has some too. Raises `NotFound`."""
        found = await self._store.revisions(name)
        if not found:
            raise _no_such(name)
        return found

    async def put(self, name: str, block: dict[str, Any], author: str) -> AliasRevision:
        """Make `block` what the name means. The same block again changes nothing.

        Raises `ConfigError` with every mistake of the block.
        """
        current = await self.all()
        checked = block_of(self._checked(name, block, current))
        if name in current and current[name].block == checked:
            return current[name]
        return await self._put(name, checked, author)

    async def rollback(self, name: str, revision: int, author: str) -> AliasRevision:
        """Make the block of an older revision the newest one.

        Raises `NotFound`, `InvalidRequest`, and `ConfigError` where the old block no longer fits.
        """
        revisions = await self.revisions(name)
        if not 1 <= revision <= len(revisions):
            raise InvalidRequest(f"`{name}` has the revisions 1 to {len(revisions)}.", "revision")
        block = revisions[revision - 1].block
        if block is None:
            raise InvalidRequest(
                f"Revision {revision} deleted `{name}`: there is nothing to go back to.", "revision"
            )
        self._checked(name, block, await self.all())
        return await self._put(name, block, author)

    async def delete(self, name: str, author: str) -> None:
        """Delete the alias; its revisions stay. Raises `NotFound`."""
        if await self._store.delete(name, author=author, now=int(self._clock())) is None:
            raise _no_such(name)
        await self._serve_it()

    async def _put(self, name: str, block: Block, author: str) -> AliasRevision:
        made = await self._store.put(name, block, author=author, now=int(self._clock()))
        await self._serve_it()
        return made

    async def _serve_it(self) -> None:
        generation = await self._keeper.refresh()
        await self._link.swapped(generation, SWAP_TIMEOUT_S)

    def _checked(self, name: str, block: Block, current: dict[str, AliasRevision]) -> AliasSettings:
        """The block, held to the rules of the file among the upstreams, rewrites and aliases in force."""
        snapshot = self._keeper.current
        known = snapshot.alias_settings if snapshot is not None else {}
        others = {other: settings for other, settings in known.items() if other in current}
        return load_alias(name, block, self._keeper.settings.model_copy(update={"aliases": others}))


def _no_such(name: str) -> NotFound:
    return NotFound(f"No alias has the name `{name}`.", "name")
