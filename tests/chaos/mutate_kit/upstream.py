"""An upstream that plays the damaged answer whose number is a call's user, and serves all other calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator

from tests.chaos.mutate_kit.streams import Answer, damaged_answer, sound_answer

MUTANT = "mutant"
_CHOICE = {
    "index": 0,
    "message": {"role": "assistant", "content": "ok"},
    "text": "ok",
    "finish_reason": "stop",
}
_REPLY = json.dumps(
    {
        "id": "chatcmpl-plain",
        "object": "chat.completion",
        "created": 1,
        "model": "plain",
        "choices": [_CHOICE],
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    }
).encode()
_JSON = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_REPLY) + _REPLY
)
_SOUND = sound_answer()


class MutantUpstream:
    """What `mutant_upstream` yields."""

    def __init__(self, seed: int) -> None:
        self.played = 0
        self.url = ""
        self._seed = seed

    def _answer(self, body: bytes) -> Answer:
        asked = json.loads(body)
        if asked.get("model") == MUTANT and asked.get("user", "").isdecimal():
            self.played += 1
            return damaged_answer(self._seed, int(asked["user"]))
        return _SOUND if asked.get("stream") is True else Answer((_JSON,), "keep")

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # uvloop says RuntimeError where a connection is closed already; all are cancelled at the end.
        over = (OSError, RuntimeError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.closing(writer), contextlib.suppress(*over):
            while await self._serve(reader, writer):
                pass

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"content-length: ")
        answer = self._answer(await reader.readexactly(int(length.partition(b"\r\n")[0])))
        for piece in answer.pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        await writer.drain()
        if answer.ending == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return answer.ending == "keep"


@contextlib.asynccontextmanager
async def mutant_upstream(seed: int) -> AsyncIterator[MutantUpstream]:
    """One on a port of the kernel's choice."""
    upstream = MutantUpstream(seed)
    server = await asyncio.start_server(upstream.connected, "127.0.0.1", 0, backlog=512)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        server.close()
