"""HTTP/1.1 responses from bytes, without I/O.

One parser serves all responses of a connection, one after another. Its law: any cutting of the same bytes
gives the same head, the same body and the same end. httptools (llhttp) does the parsing and refuses what
could be read in two ways: two lengths, a length beside chunked coding, folded headers, bare line feeds.
The fields of a head stay bytes, since few of them are ever asked for.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_HEAD_BYTES = 65536
MAX_HEADERS = 256
_SMALL_BYTES = 4 * MAX_HEADERS  # no head of that size has too many: each takes four bytes at least


class ResponseParser:
    """Parses the responses of one connection.

    After each `feed`, read the state: `head_ready` with `status` and `head`; then `complete`, or `error` with
    what was wrong. Once it is complete, `renew` makes the parser ready for the next one.
    """

    __slots__ = (
        "_bodyless",
        "_came",  # of heads that are not complete
        "_chatter_bytes",  # come since the last byte of body: heads, interim ones too, trailers, extensions
        "_feed",
        "_http",
        "_keep_alive",
        "_leftover",
        "_pieces",
        "_silence",
        "complete",
        "error",
        "head",
        "head_ready",
        "on_body",
        "on_message_begin",
        "status",
    )

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._silence = [None]  # empty once a message has begun
        # httptools calls these two without a Python frame in between.
        self.on_body = self._pieces.append
        self.on_message_begin = self._silence.clear
        self._reset_machine()
        self._came = b""
        self._chatter_bytes = 0
        self._keep_alive = False
        self._leftover = False
        self._bodyless = False
        self.status = 0
        self.head = b""
        self.head_ready = False
        self.complete = False
        self.error: str | None = None

    def expect_no_body(self) -> None:
        """The next response answers HEAD."""
        self._bodyless = True

    def renew(self) -> bool:
        """Get ready for another response; False where the connection must not carry one.

        It may where the response is complete, the upstream keeps it alive, and nothing came behind it.
        """
        if not (self.complete and self._keep_alive and self._silence) or self._leftover:
            return False
        if self._bodyless:
            self._bodyless = False
            self._reset_machine()  # llhttp cannot be told of HEAD, so it may still wait for a body
        self.head_ready = self.complete = False
        self._chatter_bytes = 0
        return True

    def _reset_machine(self) -> None:
        self._http = HttpResponseParser(self)
        self._feed = self._http.feed_data

    def release(self) -> None:
        """Break the reference cycle with httptools; the parser is of no use afterwards."""
        del self._http, self._feed

    @property
    def has_begun(self) -> bool:
        """At least one byte came of a response whose head is not complete yet."""
        return self._chatter_bytes > 0

    def feed(self, data: bytes | memoryview) -> bytes:
        """Parse what came from the socket; returns the bytes of body in it, all pieces joined."""
        was_ready = self.head_ready
        if not was_ready:
            self._came += data
        feed, pieces = self._feed, self._pieces
        try:
            feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._stop(str(error))
        if not pieces:
            has_head_come = self.head_ready and not was_ready
            self._chatter_bytes = 0 if has_head_come else self._chatter_bytes + len(data)
            if self._chatter_bytes > MAX_HEAD_BYTES and not self.complete and self.error is None:
                self.error = f"more than {MAX_HEAD_BYTES} bytes of head, trailers or chunk extensions"
            return b""
        self._chatter_bytes = 0
        body = pieces.pop()
        if pieces:
            body = b"".join([*pieces, body])
            pieces.clear()
        if self._bodyless:
            self._leftover = True
            return b""
        return body

    def eof(self) -> None:
        """The upstream ended its side: the proper end of a body that has no other."""
        if self.head_ready and not self.complete and self.error is None and self._ends_by_close():
            self.complete = True

    def _ends_by_close(self) -> bool:
        """RFC 9112, section 6.3: neither a length nor a final chunked coding."""
        coding = b""
        for name, value in fields_of(self.head):
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

    def _check_size(self, came: bytes, end: int) -> None:
        if came.count(b"\r\n", 0, end) > MAX_HEADERS:
            raise self._refusal(f"more than {MAX_HEADERS} headers")
        if end > MAX_HEAD_BYTES:
            raise self._refusal(f"more than {MAX_HEAD_BYTES} bytes of head")

    def _refusal(self, reason: str) -> HttpParserError:
        self.error = reason
        return HttpParserError(reason)

    # Called by httptools.

    def on_headers_complete(self) -> None:
        """A head is complete. An interim one (1xx) is skipped, but counts towards the bound on heads."""
        if self.complete:
            raise HttpParserError("bytes behind the response")
        http = self._http
        status = http.get_status_code()
        came = self._came.lstrip(b"\r\n")
        end = came.find(b"\r\n\r\n")
        if status < 200:
            if status < 100 or status == 101:
                raise self._refusal(f"status {status} where a final answer was due")
            self._came = came[end + 4 :]
            return
        if end > _SMALL_BYTES:
            self._check_size(came, end)
        self.status = status
        self.head = came[: end + 2]
        self._came = b""
        self.head_ready = True
        self._keep_alive = http.should_keep_alive()  # false once the message is complete, so asked here
        if self._bodyless:
            self.complete = True
            self._silence.append(None)

    def on_message_complete(self) -> None:
        """A response is complete, or an interim one, which does not count."""
        if self.head_ready:
            self.complete = True
            self._silence.append(None)


def fields_of(head: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of a head in order, their names in lower case.

    Args:
        head: a status line and what follows it, each line with its end, without the blank one.
    """
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:-1]]
    return tuple((name.lower(), value.strip()) for name, _, value in lines)
