"""Clients of the chaos runs: each sends one call after the other, and notes what it saw of them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.chaos.kit.checker import ClientCall
from tests.chaos.kit.upstream import FIRST_MODEL
from tests.chaos.kit.words import WORD, Wish

AWAY_S = 0.05
ANSWER_S = 30.0
"""No call takes that long, so one that does is a connection to nobody."""


@dataclass(frozen=True)
class Key:
    """A virtual key: its id, its text, what it may spend in all, and its share of the calls."""

    id: str
    text: str
    limit_nanousd: int | None = None
    weight: int = 10


@dataclass(frozen=True)
class Call:
    """What to send, and when to leave: after so many words (of a stream), or so many seconds."""

    wish: Wish
    key: Key
    model: str
    stream: bool
    leaves_after_words: int | None = None
    leaves_after_s: float | None = None

    def request(self) -> bytes:
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": self.wish.text}],
                "max_tokens": self.wish.words,
                "stream": self.stream,
            }
        ).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: chaos\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self.key.text}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def draw_call(number: int, draw: random.Random, keys: list[Key]) -> Call:
    """Half of the calls stream, some of each kind leave, some upstreams fail."""
    stream = draw.random() < 0.5
    words = draw.randint(1, 12)
    fate = draw.choices(("answer", "fail", "cut"), (94, 4, 2 if stream else 0))[0]
    wish = Wish(f"t{number:07}", words, draw.choice((0, 0, 1, 3, 10)), draw.random() < 0.95, fate)
    call = Call(
        wish, draw.choices(keys, [key.weight for key in keys])[0], draw.choice((FIRST_MODEL, "chaos")), stream
    )
    if draw.random() < 0.15:
        if stream and draw.random() < 0.7:
            return replace(call, leaves_after_words=draw.randint(0, words))
        return replace(call, leaves_after_s=draw.uniform(0.0, 0.03))
    return call


class Clients:
    """Sends `count` calls, `at_once` of them at any time, no more than `rate` a second (0 = all it can).

    Args:
        address: where the gateway listens now; None while it is being started.
        draw_call: makes a call of its number.

    Attributes:
        seen: what was seen of each call that is over.
    """

    def __init__(
        self,
        keys: list[Key],
        count: int,
        seed: int,
        address: Callable[[], tuple[str, int] | None],
        *,
        at_once: int = 48,
        rate: float = 0,
        draw_call: Callable[[int, random.Random, list[Key]], Call] = draw_call,
    ) -> None:
        self.seen: list[ClientCall] = []
        self._draw_call = draw_call
        self._keys = keys
        self._count = count
        self._draw = random.Random(seed)  # noqa: S311  # no secret: a run can be repeated
        self._address = address
        self._at_once = at_once
        self._rate = rate
        self._sent = 0
        self._began = 0.0

    async def run(self) -> None:
        self._began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._run_one())

    async def _run_one(self) -> None:
        connection: _Connection | None = None
        while self._sent < self._count:
            if connection is None:
                connection = await self._connect()
                continue
            number = self._sent
            self._sent += 1
            if self._rate:
                due = self._began + number / self._rate
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            call = self._draw_call(number, self._draw, self._keys)
            seen = _Seen(call)
            try:
                async with asyncio.timeout(call.leaves_after_s or ANSWER_S):
                    may_go_on = await connection.exchange(call, seen)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                may_go_on = False
            self.seen.append(seen.call)
            if not may_go_on:
                connection.abort()
                connection = None
            if seen.call.status == 503:
                await asyncio.sleep(AWAY_S)  # else a store that is away for a second takes a thousand calls
        if connection is not None:
            connection.abort()

    async def _connect(self) -> _Connection | None:
        address = self._address()
        if address is not None:
            try:
                return _Connection(*await asyncio.open_connection(*address))
            except OSError:
                pass
        await asyncio.sleep(AWAY_S)
        return None


class _Seen:
    """What is seen of a call, as it comes in."""

    def __init__(self, call: Call) -> None:
        self.call = ClientCall(call.wish.token, call.key.id, call.stream)

    def note(self, **facts: object) -> None:
        self.call = replace(self.call, **facts)  # type: ignore[arg-type]  # the names are checked by replace


class _Connection:
    """One connection, one call at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def abort(self) -> None:
        self._writer.transport.abort()

    async def exchange(self, call: Call, seen: _Seen) -> bool:
        """Send a call and read its answer; False where the connection is of no use any more."""
        self._writer.write(call.request())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        seen.note(request_id=lines.get("x-request-id"), status=int(head.split(" ", 2)[1]))
        if "content-length" in lines:
            body = json.loads(await self._reader.readexactly(int(lines["content-length"])))
            if seen.call.status == 200:
                text = body["choices"][0]["message"]["content"]
                seen.note(acknowledged=True, relayed=text.count(WORD))
            else:
                seen.note(code=body["error"]["code"])
            return lines.get("connection") != "close"
        return await self._stream(call, seen)

    async def _stream(self, call: Call, seen: _Seen) -> bool:
        is_done = False
        if call.leaves_after_words == 0:
            return False
        rest = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            rest += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
            *events, rest = rest.split(b"\n\n")
            for event in events:
                if event == b"data: [DONE]":
                    is_done = True
                    seen.note(acknowledged=True)
                elif event.startswith(b"data: "):
                    _note_event(json.loads(event[6:]), seen)
                    if call.leaves_after_words is not None and seen.call.relayed >= call.leaves_after_words:
                        return False
        await self._reader.readexactly(2)
        return is_done


def _note_event(document: dict[str, object], seen: _Seen) -> None:
    error, choices = document.get("error"), document.get("choices")
    if isinstance(error, dict):
        seen.note(code=error["code"])
    elif isinstance(choices, list) and choices and choices[0]["delta"].get("content"):
        seen.note(relayed=seen.call.relayed + 1)
