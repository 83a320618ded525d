"""Damage to bytes and to JSON: everything is drawn from one source of chance, so that a seed says it all."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

_PIECES = (
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",  # half of a surrogate pair
    b"\xe2\x80\xa8",  # a line separator, which only some take for a line's end
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"\n\n",
    b"data: ",
    b"data: [DONE]\n\n",
    b"event: error\n",
    b": \n",
    b'"',
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0",
    b"9" * 400,
    b"[" * 100,
    b'{"a":' * 100,
    b'"model":"plain",',
    b'"stream":true,',
)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**63,
    10**40,
    1e308,
    "",
    "a",
    "\x00",
    "\ud800",
    "\u2028",
    "x" * 5000,
    [],
    {},
    [[]],
    [None],
    {"a": None},
    {"": []},
    ["a", 1, {}],
)
_MOST_STEPS = 4


def damaged_bytes(data: bytes, draw: Random) -> bytes:
    """The same with one to four damages."""
    for _ in range(draw.randint(1, _MOST_STEPS)):
        data = draw.choice(_WAYS)(data, draw)
    return data


def damaged_json(document: Any, draw: Random) -> Any:
    """A copy of a document in which one to four values are others, gone, or twice there."""
    copy = deepcopy(document)
    for _ in range(draw.randint(1, _MOST_STEPS)):
        places = _places(copy)
        if not places:
            break
        holder, at = draw.choice(places)
        kind = draw.randrange(4)
        if kind == 0:
            del holder[at]
        elif kind == 1:
            holder[at] = _nested(draw.randint(1, 200))
        elif kind == 2:
            holder[at] = [holder[at], deepcopy(holder[at])]
        else:
            holder[at] = deepcopy(draw.choice(_VALUES))
    return copy


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every holder and key (or index) of a document."""
    keys: list[Any] = list(value) if isinstance(value, dict) else []
    if isinstance(value, list):
        keys = list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def _span(data: bytes, draw: Random) -> slice:
    start = draw.randrange(len(data) + 1)
    return slice(start, start + draw.choice((1, 2, 7, 30)))


def _flip(data: bytes, draw: Random) -> bytes:
    if not data:
        return data
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def _insert(data: bytes, draw: Random) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.choice(_PIECES) + data[at:]


def _replace(data: bytes, draw: Random) -> bytes:
    span = _span(data, draw)
    return data[: span.start] + draw.choice(_PIECES) + data[span.stop :]


def _delete(data: bytes, draw: Random) -> bytes:
    span = _span(data, draw)
    return data[: span.start] + data[span.stop :]


def _double(data: bytes, draw: Random) -> bytes:
    span = _span(data, draw)
    return data[: span.stop] + data[span] + data[span.stop :]


def _cut(data: bytes, draw: Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


_WAYS: tuple[Callable[[bytes, Random], bytes], ...] = (
    _flip,
    _flip,
    _insert,
    _insert,
    _replace,
    _delete,
    _double,
    _cut,
)
