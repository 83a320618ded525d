"""HTTP/1.1 responses from bytes, without I/O.

One parser serves all responses of a connection, one after another. Its law: any cutting of the same bytes
gives the same head, the same body and the same end. httptools (llhttp) does the parsing and refuses what
could be read in two ways: two lengths, a length beside chunked coding, folded headers, bare line feeds.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_HEAD_BYTES = 65536
MAX_HEADERS = 256


class ResponseParser:
    """Parses the responses of one connection.

    After each `feed`, read the state: `head_ready` with `status` and `headers`; then `complete`, or `error`
    with what was wrong. `reusable` says, once complete, whether the connection may carry another request.
    """

    __slots__ = (
        "_bodyless",
        "_chatter_bytes",  # come since the last byte of body: heads, interim ones too, trailers, extensions
        "_feed",
        "_header_list",
        "_http",
        "_keep_alive",
        "_leftover",
        "_pieces",
        "complete",
        "error",
        "head_ready",
        "headers",
        "on_body",
        "status",
    )

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # httptools calls it without a Python frame in between
        self._bodyless = False
        self._reset_machine()
        self.start(bodyless=False)

    def start(self, *, bodyless: bool) -> None:
        """Get ready for the next response; `bodyless` if it answers HEAD."""
        if self._bodyless:
            self._reset_machine()  # llhttp cannot be told of HEAD, so it may still wait for a body
        self.status = 0
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self.head_ready = False
        self.complete = False
        self.error: str | None = None
        self._bodyless = bodyless
        self._header_list: list[tuple[bytes, bytes]] = []
        self._keep_alive = False
        self._leftover = False
        self._chatter_bytes = 0

    def _reset_machine(self) -> None:
        self._http = HttpResponseParser(self)
        self._feed = self._http.feed_data

    def release(self) -> None:
        """Break the reference cycle with httptools; the parser is of no use afterwards."""
        del self._http, self._feed

    @property
    def reusable(self) -> bool:
        """Complete, kept alive by the upstream, and nothing came behind it."""
        return self.complete and self._keep_alive and not self._leftover

    def feed(self, data: bytes | memoryview) -> bytes:
        """Parse what came from the socket; returns the bytes of body in it, all pieces joined."""
        self._chatter_bytes += len(data)
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._stop(str(error))
        pieces = self._pieces
        if pieces:
            if len(pieces) == 1:
                body = pieces.pop()
            else:
                body = b"".join(pieces)
                pieces.clear()
            if self._bodyless:
                self._leftover = True
                return b""
            self._chatter_bytes = 0
            return body
        if self._chatter_bytes > MAX_HEAD_BYTES and not self.complete and self.error is None:
            self.error = f"more than {MAX_HEAD_BYTES} bytes of head, trailers or chunk extensions"
        return b""

    def eof(self) -> None:
        """The upstream ended its side: the proper end of a body that has no other."""
        if self.head_ready and not self.complete and self.error is None and self._ends_by_close():
            self.complete = True

    def _ends_by_close(self) -> bool:
        """RFC 9112, section 6.3: neither a length nor a final chunked coding."""
        coding = b""
        for name, value in self.headers:
            if name == b"content-length":
                return False
            if name == b"transfer-encoding":
                coding = value
        return coding.rpartition(b",")[2].strip().lower() != b"chunked"

    def _stop(self, reason: str) -> None:
        """Bytes behind a complete response spoil only the connection; else they spoil the response."""
        if self.complete:
            self._leftover = True
        elif self.error is None:
            self.error = reason

    # Called by httptools.

    def on_message_begin(self) -> None:
        """A response begins; behind a complete one that is left over."""
        if self.complete:
            raise HttpParserError("bytes behind the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or behind the head a trailer, which nobody reads."""
        self._header_list.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        """A head is complete. An interim one (1xx) is skipped, but counts towards the bound on heads."""
        status = self._http.get_status_code()
        headers = self._header_list
        if status < 200:
            if status < 100 or status == 101:
                self.error = f"status {status} where a final answer was due"
                raise HttpParserError(self.error)
            headers.clear()
            return
        if len(headers) > MAX_HEADERS:
            self.error = f"more than {MAX_HEADERS} headers"
            raise HttpParserError(self.error)
        # More than that was read, but mostly it is body that came along, so count exactly.
        if self._chatter_bytes > MAX_HEAD_BYTES and _size(headers) > MAX_HEAD_BYTES:
            self.error = f"more than {MAX_HEAD_BYTES} bytes of head"
            raise HttpParserError(self.error)
        self.status = status
        self.headers = tuple(headers)
        self.head_ready = True
        self._chatter_bytes = 0
        self._keep_alive = self._http.should_keep_alive()  # false once the message is complete, so asked here
        if self._bodyless:
            self.complete = True

    def on_message_complete(self) -> None:
        """A response is complete, or an interim one, which does not count."""
        if self.head_ready:
            self.complete = True


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + len(b": \r\n") for name, value in headers)
