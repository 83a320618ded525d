"""Aliases and their revisions, discovered models and the catalogue's epoch, all in the slot `{catalog}`.

Blocks are stored as JSON text (`canonical`) and compared as text, so whoever writes them dumps them from the
same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gateway.store import keys
from gateway.store.client import Store
from gateway.store.errors import StoreReplyError
from gateway.store.scripts import Script

FILE_AUTHOR = "file"
SUNSET_AUTHOR = "sunset"
"""Who makes the planned moves away from models that end."""

Block = dict[str, Any]


class Moved(msgspec.Struct, frozen=True):
    """Why a planned move was made: `model` ends on `shutdown_date`, and the block named `to` for then."""

    model: str
    shutdown_date: str
    to: str


class AliasRevision(msgspec.Struct, frozen=True):
    """One revision of an alias. `block` is None where this revision deleted the alias.

    `moved` stands on the revisions that planned moves made, and on no others.
    """

    revision: int
    author: str
    updated_at: int
    block: Block | None
    moved: Moved | None = None


@dataclass(frozen=True, slots=True)
class StoredCatalogue:
    """All that the store knows of the catalogue. `epoch` is at most as new as the rest, never newer."""

    epoch: int
    aliases: dict[str, AliasRevision]
    discovered: dict[str, list[Any]]


def canonical(value: Any) -> str:
    """JSON without spaces, names in the order given: in a mapping of weights the order has a meaning."""
    return msgspec.json.encode(value).decode()


class AliasRepository:
    """Reads and writes aliases. All methods raise `StoreAway` where the store cannot be reached."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._revise_script = Script.load("alias_revise")
        self._move_script = Script.load("alias_move")
        self._discovered_script = Script.load("discovered_write")

    async def epoch(self) -> int:
        """The counter that grows with every change of the catalogue; 0 before the first."""
        return int(await self._store.call("GET", keys.CATALOG_EPOCH) or 0)

    async def read(self) -> StoredCatalogue:
        """The current catalogue, in one write."""
        replies = await self._store.call_many(
            [
                ("GET", keys.CATALOG_EPOCH),  # first: a change that slips in is then read again, not missed
                ("HGETALL", keys.CATALOG_ALIASES),
                ("HGETALL", keys.CATALOG_DISCOVERED),
            ]
        )
        for reply in replies:
            if isinstance(reply, StoreReplyError):
                raise reply
        epoch, aliases, discovered = replies
        return StoredCatalogue(
            epoch=int(epoch or 0),
            aliases={name: _decode(raw) for name, raw in sorted(_pairs(aliases).items())},
            discovered={name: msgspec.json.decode(raw) for name, raw in _pairs(discovered).items()},
        )

    async def get(self, name: str) -> AliasRevision | None:
        """The current revision of an alias, None where there is no such alias now."""
        raw = await self._store.call("HGET", keys.CATALOG_ALIASES, name)
        return None if raw is None else _decode(raw)

    async def revisions(self, name: str) -> list[AliasRevision]:
        """All revisions, oldest first; those of a deleted alias too."""
        found = await self._store.call("LRANGE", keys.alias_revisions(name), 0, -1)
        return [_decode(raw) for raw in found]

    async def put(self, name: str, block: Block, *, author: str, now: int) -> AliasRevision:
        """Make `block` the next revision of the alias."""
        (revision,) = await self._revise({name: canonical(block)}, author=author, how="direct", now=now)
        assert revision is not None  # noqa: S101  # the script always makes one of a direct change
        return revision

    async def move(
        self, name: str, block: Block, moved: Moved, *, expected: int, now: int
    ) -> AliasRevision | None:
        """Make `block` the next revision after `expected`; None where another revision is the current one.

        So whichever replica is first makes the move, and a change that came between is not lost.
        """
        raw = await self._store.script(
            self._move_script,
            [keys.CATALOG_ALIASES, keys.CATALOG_EPOCH, keys.alias_revisions(name)],
            [name, canonical(SUNSET_AUTHOR), now, canonical(block), canonical(moved), expected],
        )
        return _decode(raw) if raw else None

    async def delete(self, name: str, *, author: str, now: int) -> AliasRevision | None:
        """Delete an alias by a revision without block; None where there was no such alias."""
        (revision,) = await self._revise({name: ""}, author=author, how="direct", now=now)
        return revision

    async def sync_file(self, blocks: Mapping[str, Block], *, now: int) -> dict[str, AliasRevision]:
        """Bring in the file's aliases, as the revisions of one author; returns those it made.

        An alias gets one where the file's own block differs from what the file gave last, so a change made
        through the API stands until the file says something new. What the file gave last and gives no more
        is deleted.
        """
        given_last = await self._store.call("HKEYS", keys.CATALOG_FILE)
        changes = {name.decode(): "" for name in given_last}
        changes.update({name: canonical(block) for name, block in blocks.items()})
        if not changes:
            return {}
        made = await self._revise(changes, author=FILE_AUTHOR, how="file", now=now)
        return {name: revision for name, revision in zip(changes, made, strict=True) if revision is not None}

    async def keep_discovered(self, upstream: str, models: list[Any] | None) -> bool:
        """Keep the models that an upstream lists (None: forget them); True where that changed anything."""
        text = "" if models is None else canonical(models)
        changed = await self._store.script(
            self._discovered_script, [keys.CATALOG_DISCOVERED, keys.CATALOG_EPOCH], [upstream, text]
        )
        return bool(changed)

    async def _revise(
        self, blocks: Mapping[str, str], *, author: str, how: Literal["file", "direct"], now: int
    ) -> list[AliasRevision | None]:
        fixed = [keys.CATALOG_ALIASES, keys.CATALOG_EPOCH, keys.CATALOG_FILE]
        arguments: list[str | bytes | int] = [canonical(author), how, now]
        for name, block in blocks.items():
            arguments += [name, block]
        answers = await self._store.script(
            self._revise_script, fixed + [keys.alias_revisions(name) for name in blocks], arguments
        )
        return [_decode(raw) if raw else None for raw in answers]


def _decode(raw: bytes) -> AliasRevision:
    return msgspec.json.decode(raw, type=AliasRevision)


def _pairs(reply: Any) -> dict[str, bytes]:
    """HGETALL's answer as a dict; RESP2 sends a flat list, RESP3 a map."""
    if isinstance(reply, dict):
        return {name.decode(): value for name, value in reply.items()}
    return {name.decode(): value for name, value in zip(reply[::2], reply[1::2], strict=True)}
