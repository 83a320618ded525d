"""An upstream that gives away what it was sent: keys, headers and prompts, in every part of an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACTS = (
    *("400", "401", "403", "404", "422", "429", "500", "302"),
    *("html", "inside", "garbage", "first-error", "late-error", "cut", "whole"),
)
OF_STREAMS = ("first-error", "late-error", "cut")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    own_words = ""

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": []}, "")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        asked = json.loads(body)
        act = asked["model"].removeprefix("echo-")
        sent = self.headers.get("authorization", "").removeprefix("Bearer ")
        echo = (
            f"You sent {sent} and {self.headers.get('x-secret', '')} with {json.dumps(asked.get('messages'))}"
        )
        error = {"message": echo, "type": sent, "param": sent[4:20], "code": sent}
        if act.isdigit():
            self._send(int(act), {"error": error}, sent)
        elif act == "html":
            self._send_bytes(200, "text/html", f"<html>{echo}</html>".encode(), sent)
        elif act == "inside":
            self._send(200, {"error": error}, sent)
        elif act == "garbage":
            self.wfile.write(f"HTTP/1.1 2oo {echo}\r\n{sent}\r\n\r\n".encode())
            self.close_connection = True
        elif asked.get("stream"):
            self._stream(act, error, sent)
        else:
            self._send(200, self._answer(sent), sent)

    def _answer(self, sent: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": f"{self.own_words} {sent}"}
        return {
            "id": "chatcmpl-echo",
            "object": "chat.completion",
            "model": sent,
            "service_tier": sent,
            "system_fingerprint": sent,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
        }

    def _stream(self, act: str, error: dict[str, Any], sent: str) -> None:
        def event(document: dict[str, Any]) -> bytes:
            return b"data: " + json.dumps(document).encode() + b"\n\n"

        def chunk(**fields: Any) -> bytes:
            choice = {"index": 0, "delta": fields, "finish_reason": None}
            return event(
                {"id": "x", "object": "chat.completion.chunk", "service_tier": sent, "choices": [choice]}
            )

        body = b"" if act == "first-error" else chunk(content=self.own_words)
        if act in ("first-error", "late-error"):
            body += event({"error": error})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self._give_away(sent)
        self.end_headers()
        for byte in body:  # one by one, so that no secret is ever in one piece
            self.wfile.write(b"1\r\n" + bytes([byte]) + b"\r\n")
        if act == "cut":
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, document: dict[str, Any], sent: str) -> None:
        self._send_bytes(status, "application/json", json.dumps(document).encode(), sent)

    def _send_bytes(self, status: int, kind: str, body: bytes, sent: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self._give_away(sent)
        self.end_headers()
        for byte in body:
            self.wfile.write(bytes([byte]))

    def _give_away(self, sent: str) -> None:
        for name in (
            "x-request-id",
            "openai-version",
            "openai-processing-ms",
            "retry-after",
            "set-cookie",
            "location",
        ):
            self.send_header(name, sent)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def echoing_upstream(own_words: str) -> Iterator[str]:
    """Its base URL; `own_words` are what its models answer."""
    handler = type("Handler", (_Handler,), {"own_words": own_words})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
