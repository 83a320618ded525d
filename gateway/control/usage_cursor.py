"""Cursors: where a reader of events or rows goes on. Opaque, safe in a URL, checked when they come back.

A cursor of events holds one position for each shard that has any: no single point in time would do, because
an event may reach one shard's ledger after a later one was read from another's.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Annotated

import msgspec

from gateway.control.usage_query import LATEST
from gateway.domain.errors import InvalidRequest
from gateway.store.usage import SHARDS
from gateway.store.usage_events import START, Position

_ROWS, _EVENTS = b"r", b"e"
_CHECK_BYTES = 4
_LONGEST = 4096


_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Second = Annotated[int, msgspec.Meta(ge=0, le=LATEST)]


class RowsCursor(msgspec.Struct, array_like=True):
    """Behind which group the next page of rows begins, and the period and groups that it goes on with."""

    start: _Second
    end: _Second
    groups: tuple[str, ...]
    after: tuple[str, ...]


def events_cursor(positions: Mapping[str, Position]) -> str:
    """The cursor of a reader that stands at these positions."""
    known = [(shard, position) for shard, position in sorted(positions.items()) if position != START]
    base = min((position[0] for _, position in known), default=0)
    # Times near one another: their differences take few bytes.
    parts = [(int(shard), ms - base, number) for shard, (ms, number) in known]
    return _sealed(_EVENTS + msgspec.msgpack.encode((base, parts)))


def positions_of(cursor: str | None) -> dict[str, Position]:
    """Where a cursor of events stands, for every shard; at the start where there is none.

    Raises `InvalidRequest` for what is no such cursor.
    """
    positions = dict.fromkeys(SHARDS, START)
    if cursor is None:
        return positions
    try:
        base, parts = msgspec.msgpack.decode(
            _opened(cursor, _EVENTS), type=tuple[_Whole, list[tuple[_Whole, _Whole, _Whole]]]
        )
        for shard, ms, number in parts:
            positions[SHARDS[shard]] = (base + ms, number)
    except (ValueError, IndexError, msgspec.MsgspecError) as error:
        raise _no_cursor() from error
    return positions


def rows_cursor(cursor: RowsCursor) -> str:
    """The text of a cursor of rows."""
    return _sealed(_ROWS + msgspec.msgpack.encode(cursor))


def rows_cursor_of(text: str) -> RowsCursor:
    """Read a cursor of rows. Raises `InvalidRequest` for what is none."""
    try:
        return msgspec.msgpack.decode(_opened(text, _ROWS), type=RowsCursor)
    except (ValueError, msgspec.MsgspecError) as error:
        raise _no_cursor() from error


def _sealed(payload: bytes) -> str:
    check = zlib.crc32(payload).to_bytes(_CHECK_BYTES, "big")
    return base64.urlsafe_b64encode(check + payload).decode().rstrip("=")


def _opened(text: str, kind: bytes) -> bytes:
    """The payload of a cursor of this kind, without the kind. Raises `ValueError`."""
    if len(text) > _LONGEST or not text.isascii():
        raise ValueError("no cursor")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("no cursor") from error
    check, payload = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
    if zlib.crc32(payload).to_bytes(_CHECK_BYTES, "big") != check or not payload.startswith(kind):
        raise ValueError("no cursor")
    return payload[len(kind) :]


def _no_cursor() -> InvalidRequest:
    return InvalidRequest("`after` must be the `next` of an earlier answer of this route.", "after")
