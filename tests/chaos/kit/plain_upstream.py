"""An upstream that does what the first message of a call says, in a process of its own.

    wait SECONDS           a JSON reply after so long
    words COUNT SECONDS    a stream of so many words, so far apart
    flood MEGABYTES        a stream as fast as it is taken

Started as `python -m tests.chaos.kit.plain_upstream`; prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvloop

ROOT = Path(__file__).parents[3]
_STOP_S = 10.0
_REPLY = json.dumps(
    {
        "id": "chatcmpl-plain",
        "object": "chat.completion",
        "created": 1,
        "model": "plain",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    }
).encode()
_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_REPLY)
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WORDS = 64  # an event has one, as a model's tokens come


def _event(document: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event({"id": "chatcmpl-plain", "object": "chat.completion.chunk", "choices": [choice]})


_WORD = _chunk({"content": "word "})
_BLOCK = _WORD * _WORDS
_USAGE = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
_END = _chunk({}, "stop") + _event({"choices": [], "usage": _USAGE}) + b"data: [DONE]\n\n"


async def _events(directive: list[str]) -> AsyncIterator[bytes]:
    if directive[0] == "flood":
        for _ in range(int(float(directive[1]) * 1e6 / len(_BLOCK))):
            yield _BLOCK
    else:
        for _ in range(int(directive[1])):
            yield _WORD
            await asyncio.sleep(float(directive[2]))
    yield _END


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # uvloop says RuntimeError where a connection is closed already.
    with contextlib.suppress(OSError, RuntimeError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, _, length = head.partition(b"content-length: ")
            body = json.loads(await reader.readexactly(int(length.partition(b"\r\n")[0])))
            directive = body["messages"][0]["content"].split()
            if directive[0] == "wait":
                await asyncio.sleep(float(directive[1]))
                writer.write(_JSON + _REPLY)
                continue
            writer.write(_STREAM)
            async for event in _events(directive):
                writer.write(b"%x\r\n%b\r\n" % (len(event), event))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
    writer.transport.abort()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextlib.contextmanager
def plain_upstream() -> Iterator[str]:
    """Runs one; yields its base URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.kit.plain_upstream"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()
            process.wait(_STOP_S)


if __name__ == "__main__":
    uvloop.run(_serve())
