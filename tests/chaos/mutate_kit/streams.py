"""Answers of an upstream with damage in them: to events, to the stream's bytes, or to HTTP itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from tests.chaos.mutate_kit.damage import damaged_bytes, damaged_json
from tests.support.fake_upstream import chunk, done, event, finish, role, text, usage

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_SOUND: tuple[tuple[bytes, ...], ...] = (
    (role(), text("Hel"), text("lo"), finish(), usage(), done()),
    (b": hello\n\n", role(), text("w\u00f6rld \U0001f600"), finish("length"), usage(1, 1), done()),
    (role(), chunk({"tool_calls": [_CALL]}), finish("tool_calls"), usage(), done()),
    (
        role(),
        chunk({"reasoning_content": "Hm."}),
        chunk({"refusal": "No."}),
        finish("content_filter"),
        done(),
    ),
    (chunk({"content": "a"}), chunk({"content": "b"}, index=1), finish(index=1), finish(), usage(), done()),
    (b"id: 1\n" + role(), b"event: message\n" + text("a"), b"retry: 1\n\n", finish(), done()),
    (role(), text("a"), event({"error": {"message": "Overloaded.", "type": "server_error", "code": None}})),
    (role(), *(text(f"{n} ") for n in range(30)), finish(), usage(7, 30), done()),
)
_MOST_PIECES = 8

Ending = Literal["keep", "close", "reset"]


@dataclass(frozen=True)
class Answer:
    """Bytes as an upstream sends them, piece by piece, and what becomes of the connection then."""

    pieces: tuple[bytes, ...]
    ending: Ending


def sound_answer() -> Answer:
    """Nothing is wrong with it."""
    return Answer((HEAD, *(_framed(each) for each in _SOUND[0]), _framed(b"")), "keep")


def damaged_answer(seed: int, number: int) -> Answer:
    """Always the same for a seed and a number. What could leave the gateway waiting ends its connection."""
    draw = Random(f"stream {seed} {number}")  # noqa: S311  # no secret: a run can be repeated
    events = list(draw.choice(_SOUND))
    kind = draw.random()
    if kind < 0.45:
        _damage_events(events, draw)
    body = b"".join(events)
    if draw.random() < 0.2:
        body = body.replace(b"\n", draw.choice((b"\r\n", b"\r")))
    if 0.3 < kind < 0.75:
        body = damaged_bytes(body, draw)
    if kind < 0.75:
        return Answer((HEAD, *(_framed(piece) for piece in _cut(body, draw) if piece), _framed(b"")), "keep")
    wire = HEAD + b"".join(_framed(piece) for piece in _cut(body, draw) if piece) + _framed(b"")
    if kind < 0.85:  # sound, and then it breaks
        wire = wire[: draw.randrange(len(wire))]
    else:
        wire = (
            damaged_bytes(wire[: len(HEAD)], draw) + wire[len(HEAD) :]
            if kind < 0.92
            else damaged_bytes(wire, draw)
        )
    return Answer(tuple(_cut(wire, draw)), draw.choice(("close", "reset")))


def _damage_events(events: list[bytes], draw: Random) -> None:
    for _ in range(draw.randint(1, 3)):
        if not events:
            return
        at = draw.randrange(len(events))
        way = draw.randrange(4)
        if way == 0:
            del events[at]
        elif way == 1:
            events.insert(draw.randrange(len(events) + 1), events[at])
        elif way == 2:
            events[at] = _damage_document(events[at], draw)
        else:
            events[at] = damaged_bytes(events[at], draw)


def _damage_document(data: bytes, draw: Random) -> bytes:
    try:
        document: Any = json.loads(data.partition(b"data: ")[2])
    except ValueError:
        return damaged_bytes(data, draw)
    damaged = json.dumps(damaged_json(document, draw), separators=(",", ":"))
    return b"data: " + damaged.encode() + b"\n\n"


def _cut(data: bytes, draw: Random) -> list[bytes]:
    places = sorted(draw.randrange(len(data) + 1) for _ in range(draw.randrange(_MOST_PIECES)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
