"""`/admin/v1/aliases`: aliases and their revisions over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.control.alias_service import AliasService
from gateway.domain.errors import InvalidRequest
from gateway.store.alias_repository import FILE_AUTHOR, SUNSET_AUTHOR, AliasRevision

_AUTHOR = "admin"
_OWN_AUTHORS = (FILE_AUTHOR, SUNSET_AUTHOR)
_MAX_AUTHOR = 64


class ShownAlias(BaseModel):
    """The block as its author wrote it, with what the gateway knows of this revision beside it."""

    model_config = ConfigDict(extra="allow")

    object: Literal["alias"] = "alias"
    name: str
    revision: int
    author: str
    updated_at: int


class ShownMoved(BaseModel):
    """The planned move that made a revision: which model ends, when, and what takes over."""

    model: str
    shutdown_date: str
    to: str


class ShownRevision(ShownAlias):
    """One revision; `deleted` where it deleted the alias and so has no block, `moved` for a planned move."""

    object: Literal["alias.revision"] = "alias.revision"  # type: ignore[assignment]  # the same field, another constant
    deleted: bool
    moved: ShownMoved | None


class AliasList(BaseModel):
    """Aliases by name. `next` is the name to give as `after` for the next page."""

    object: Literal["list"] = "list"
    data: list[ShownAlias]
    has_more: bool
    next: str | None


class RevisionList(BaseModel):
    """Revisions, newest first. `next` is the revision to give as `after` for the next page."""

    object: Literal["list"] = "list"
    data: list[ShownRevision]
    has_more: bool
    next: str | None


class AliasDeleted(BaseModel):
    """The alias is gone; its revisions are not."""

    name: str
    object: Literal["alias.deleted"] = "alias.deleted"
    deleted: Literal[True] = True


class Rollback(BaseModel):
    """The revision whose block comes back."""

    model_config = ConfigDict(extra="forbid", strict=True)

    revision: int = Field(ge=1)


_Limit = Annotated[int, Query(ge=1, le=1000)]
_Author = Annotated[
    str,
    Header(alias="x-tunegate-author", description=f"Who makes this change; `{_AUTHOR}` where absent."),
]


def alias_routes(service: AliasService) -> APIRouter:
    """The routes over `service`. Names may hold slashes, so the longer paths are matched first."""
    router = APIRouter(prefix="/admin/v1/aliases", tags=["aliases"])

    @router.get("")
    async def list_aliases(limit: _Limit = 20, after: str | None = None) -> AliasList:
        """Aliases, by name."""
        found = await service.all()
        names = [name for name in sorted(found) if after is None or name > after]
        page, has_more = names[:limit], len(names) > limit
        return AliasList(
            data=[_shown(name, found[name]) for name in page],
            has_more=has_more,
            next=page[-1] if has_more else None,
        )

    @router.get("/{name:path}/revisions")
    async def list_revisions(name: str, limit: _Limit = 20, after: str | None = None) -> RevisionList:
        """Every revision of an alias, newest first, those of a deleted one too."""
        revisions = await service.revisions(name)
        older = [each for each in reversed(revisions) if after is None or each.revision < _number(after)]
        page, has_more = older[:limit], len(older) > limit
        return RevisionList(
            data=[_shown_revision(name, each) for each in page],
            has_more=has_more,
            next=str(page[-1].revision) if has_more else None,
        )

    @router.post("/{name:path}/rollback")
    async def roll_back(name: str, body: Rollback, author: _Author = _AUTHOR) -> ShownAlias:
        """Make an older block the newest revision."""
        return _shown(name, await service.rollback(name, body.revision, _checked_author(author)))

    @router.get("/{name:path}")
    async def get_alias(name: str) -> ShownAlias:
        """One alias as it is now."""
        return _shown(name, await service.get(name))

    @router.put("/{name:path}")
    async def put_alias(name: str, body: dict[str, JsonValue], author: _Author = _AUTHOR) -> ShownAlias:
        """Make the block what this name means. It is the block of the configuration file.

        What GET adds to a block is passed over, so that its answer can be edited and sent back.
        """
        block = {field: value for field, value in body.items() if field not in ShownAlias.model_fields}
        return _shown(name, await service.put(name, block, _checked_author(author)))

    @router.delete("/{name:path}")
    async def delete_alias(name: str, author: _Author = _AUTHOR) -> AliasDeleted:
        """Delete an alias. Clients that ask for it get 404 from now on."""
        await service.delete(name, _checked_author(author))
        return AliasDeleted(name=name)

    return router


def _shown(name: str, alias: AliasRevision) -> ShownAlias:
    block: dict[str, Any] = alias.block or {}
    return ShownAlias(
        name=name, revision=alias.revision, author=alias.author, updated_at=alias.updated_at, **block
    )


def _shown_revision(name: str, alias: AliasRevision) -> ShownRevision:
    block: dict[str, Any] = alias.block or {}
    return ShownRevision(
        name=name,
        revision=alias.revision,
        author=alias.author,
        updated_at=alias.updated_at,
        deleted=alias.block is None,
        moved=None if alias.moved is None else ShownMoved(**msgspec.to_builtins(alias.moved)),
        **block,
    )


def _number(after: str) -> int:
    if not after.isdecimal():
        raise InvalidRequest("`after` is the number of a revision.", "after")
    return int(after)


def _checked_author(author: str) -> str:
    """Who makes a change. Names that the gateway itself uses are its own, so that nobody can pass for it."""
    author = author.strip()
    if not 1 <= len(author) <= _MAX_AUTHOR or not author.isprintable() or author in _OWN_AUTHORS:
        raise InvalidRequest(
            f"`x-tunegate-author` is 1 to {_MAX_AUTHOR} printable characters, "
            f"not {' or '.join(map(repr, _OWN_AUTHORS))}.",
            "x-tunegate-author",
        )
    return author
