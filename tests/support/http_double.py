"""A server in threads for doubles of providers: each request is played by a function, its leaving is seen.

    with HttpDouble(play) as double:
        ... double.url ...

`play(exchange)` answers one request. What was asked stands in `double.seen`, oldest first.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

STEP_S = 0.01


class Exchange:
    """One request, and the ways to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: bytes, stopping: threading.Event) -> None:
        self._handler = handler
        self._stopping = stopping
        self.method = handler.command
        self.path, _, self.query = handler.path.partition("?")
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = body
        self.gone_after_s: float | None = None
        """Seconds from the first `until_gone` to the client's leaving."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def answer(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a whole JSON document."""
        content = json.dumps(document).encode()
        self.start(status, {"content-type": "application/json", **(headers or {})}, length=len(content))
        self._handler.wfile.write(content)

    def start(self, status: int, headers: Mapping[str, str], length: int | None = None) -> None:
        """Send the head; without a length the body is chunked."""
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name, value)
        if length is None:
            self._handler.send_header("transfer-encoding", "chunked")
        else:
            self._handler.send_header("content-length", str(length))
        self._handler.end_headers()

    def piece(self, data: bytes) -> None:
        """Send a piece of a chunked body."""
        self._handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self._handler.wfile.flush()

    def end(self) -> None:
        """End a chunked body in good order."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def hang_up(self) -> None:
        """Answer nothing and close in good order."""
        self._handler.close_connection = True

    def drop(self) -> None:
        """Reset the connection."""
        sock = self._handler.connection
        self._handler.close_connection = True
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def until_gone(self) -> None:
        """Wait until the client has closed the connection, or the double ends."""
        began = time.monotonic()
        self._handler.close_connection = True
        while not self._stopping.is_set():
            ready, _, _ = select.select([self._handler.connection], [], [], STEP_S)
            if ready:
                try:
                    is_open = bool(self._handler.connection.recv(1, socket.MSG_PEEK))
                except OSError:
                    is_open = False
                if not is_open:
                    self.gone_after_s = time.monotonic() - began
                    return


class HttpDouble:
    """The running double; `url` is where it listens, without a path."""

    def __init__(self, play: Callable[[Exchange], None]) -> None:
        self.seen: list[Exchange] = []
        stopping = self._stopping = threading.Event()
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                """Stay silent: pytest shows what a test needs."""

            def do_GET(self) -> None:
                self._play()

            def do_POST(self) -> None:
                self._play()

            def _play(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                exchange = Exchange(self, body, stopping)
                seen.append(exchange)
                try:
                    play(exchange)
                except (OSError, ValueError):
                    self.close_connection = True  # the client left while it was written to

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A connection that broke is no failure of the double."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def last(self) -> Exchange:
        return self.seen[-1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
