"""The upstream of the chaos runs, a process of its own: answers as its callers wish, and logs every call.

    python -m tests.chaos.kit.upstream LOG

prints its port; at SIGTERM it writes its log, one JSON array a token: token, times, produced, told_usage.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from tests.chaos.kit.words import PROMPT_TOKENS, WORD, Wish

FIRST_MODEL = "chaos-one"


class Log:
    """What was asked, by token."""

    def __init__(self) -> None:
        self._calls: dict[str, list[Any]] = {}

    def began(self, token: str) -> None:
        self._calls.setdefault(token, [token, 0, 0, False])[1] += 1

    def sent(self, token: str, words: int, *, told_usage: bool) -> None:
        call = self._calls[token]
        if words >= call[2]:
            call[2], call[3] = words, told_usage or call[3]

    def text(self) -> str:
        return "".join(json.dumps(call) + "\n" for call in self._calls.values())


async def serve(log: Log) -> None:

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (body := await _read(reader)) is not None:
                await _answer(body, writer, log)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the gateway left, or its process was killed, or the run is over
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await over.wait()


async def _read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
    except asyncio.IncompleteReadError:
        return None
    start = head.index(b"content-length:") + len(b"content-length:")
    length = int(head[start : head.index(b"\r\n", start)])
    document: dict[str, Any] = json.loads(await reader.readexactly(length))
    return document


async def _answer(asked: dict[str, Any], writer: asyncio.StreamWriter, log: Log) -> None:
    wish = Wish.read(asked["messages"][-1]["content"])
    log.began(wish.token)
    if wish.fate == "fail" and asked["model"] == FIRST_MODEL:
        _write(
            writer, wish, b"500 Internal Server Error", b'{"error":{"message":"no","type":"server_error"}}'
        )
    elif asked.get("stream"):
        await _stream(asked, wish, writer, log)
    else:
        await asyncio.sleep(wish.pause_ms / 1000)
        body = {
            "id": f"chatcmpl-{wish.token}",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": WORD * wish.words},
                    "finish_reason": "stop",
                }
            ],
        }
        if wish.usage:
            body["usage"] = _usage(wish.words)
        log.sent(wish.token, wish.words, told_usage=wish.usage)
        _write(writer, wish, b"200 OK", json.dumps(body).encode())
    await writer.drain()


async def _stream(asked: dict[str, Any], wish: Wish, writer: asyncio.StreamWriter, log: Log) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nx-request-id: %b\r\ncontent-type: text/event-stream\r\n"
        b"transfer-encoding: chunked\r\n\r\n" % wish.token.encode()
    )
    told = wish.usage and bool((asked.get("stream_options") or {}).get("include_usage"))
    for sent in range(wish.words):
        if wish.fate == "cut" and sent == (wish.words + 1) // 2:
            writer.transport.abort()
            raise ConnectionResetError
        if wish.pause_ms:
            await asyncio.sleep(wish.pause_ms / 1000)
        _event(writer, wish, {"choices": [{"index": 0, "delta": {"content": WORD}, "finish_reason": None}]})
        log.sent(wish.token, sent + 1, told_usage=False)
        await writer.drain()
    _event(writer, wish, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if told:
        _event(writer, wish, {"choices": [], "usage": _usage(wish.words)})
        log.sent(wish.token, wish.words, told_usage=True)
    if not writer.is_closing():
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def _usage(words: int) -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": words,
        "total_tokens": PROMPT_TOKENS + words,
    }


def _event(writer: asyncio.StreamWriter, wish: Wish, fields: dict[str, Any]) -> None:
    if writer.is_closing():
        raise ConnectionResetError
    document = {"id": f"chatcmpl-{wish.token}", "object": "chat.completion.chunk"} | fields
    data = b"data: " + json.dumps(document).encode() + b"\n\n"
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _write(writer: asyncio.StreamWriter, wish: Wish, status: bytes, body: bytes) -> None:
    if writer.is_closing():
        raise ConnectionResetError
    writer.write(
        b"HTTP/1.1 %b\r\nx-request-id: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (status, wish.token.encode(), len(body), body)
    )


if __name__ == "__main__":
    calls = Log()
    uvloop.run(serve(calls))
    Path(sys.argv[1]).write_text(calls.text(), encoding="utf-8")
