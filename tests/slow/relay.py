"""An upstream as the relays of the market are: nearly OpenAI, with the differences that hurt.

The model's name carries the script: an id that ends in `cut` loses its stream half-way, one that ends in
`busy` is rate limited, one that ends in `gone` is unknown, and every other one answers. A stream opens with
comments, reports its usage on the finish chunk and ends without `[DONE]`.
"""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

WORDS = ("Four", " words", " from", " afar")
USAGE = {"prompt_tokens": 9, "completion_tokens": len(WORDS), "total_tokens": 9 + len(WORDS)}
COMMENT = b": OPENROUTER PROCESSING\n\n"


@dataclass(frozen=True)
class Seen:
    """One request as it reached the relay; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Relay:
    """The running relay: `base_url`, what it has `seen`, and `hold` to make a stream wait."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.hold = threading.Event()
        """Streams stop after their first word until this is set; set unless a test clears it."""
        self.hold.set()
        relay = self

        class Handler(_Handler):
            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                """Stay silent: pytest shows what a test needs."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                relay.seen.append(Seen(self.path, headers, body))
                self.play(body, relay.hold)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def play(self, body: dict[str, Any], hold: threading.Event) -> None:
        model = body["model"]
        if model.endswith("gone"):
            self._json(404, _error(f"The model `{model}` does not exist.", code="model_not_found"))
        elif model.endswith("busy"):
            self._json(429, _error("Slow down.", code="rate_limit_exceeded", kind="requests"))
        elif body.get("stream"):
            self._stream(model, hold)
        else:
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._json(200, _envelope(model, "chat.completion", choice) | {"usage": USAGE})

    def _json(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, model: str, hold: threading.Event) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._piece(COMMENT * 2)
        for word in WORDS[: 2 if model.endswith("cut") else None]:
            self._event(model, {"index": 0, "delta": {"role": "assistant", "content": word}})
            hold.wait(30)
        if not model.endswith("cut"):
            finish = {"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}
            self._piece(COMMENT)
            self._event(model, finish, usage=USAGE)
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, model: str, choice: dict[str, Any], **fields: Any) -> None:
        chunk = _envelope(model, "chat.completion.chunk", choice) | fields
        self._piece(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    def _piece(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _envelope(model: str, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": "gen-1", "object": kind, "created": 1700000000, "model": model, "choices": [choice]}


def _error(message: str, *, code: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
