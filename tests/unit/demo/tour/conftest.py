"""A gateway that plays a part: canned answers to the calls of the tour, over real HTTP."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Played:
    """`answers` maps "METHOD path" to a status and a body: JSON, or bytes of a stream, or a function of the
    authorization that returns both. `calls` is what came."""

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)


@pytest.fixture
def played() -> Iterator[Played]:
    played = Played()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            name = f"{self.command} {self.path.partition('?')[0]}"
            played.calls.append((name, self.headers["authorization"], json.loads(body) if body else None))
            status, content = played.answers.get(name, (404, {"error": {"message": "not played"}}))
            if callable(content):
                status, content = content(self.headers["authorization"])
            streamed = isinstance(content, bytes)
            data = content if streamed else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "text/event-stream" if streamed else "application/json")
            self.send_header("content-length", str(len(data)))
            self.send_header("x-tunegate-model", "m-1")
            self.send_header("x-tunegate-upstream", "demo")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer  # noqa: N815 - http.server names them so

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        played.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield played
        server.shutdown()
        thread.join()
