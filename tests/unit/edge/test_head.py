"""Heads that are known again: exactly what a parser would have read, or nothing."""

from __future__ import annotations

from collections.abc import Iterable

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.edge.head import Head, KnownHead

LINES = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\nX: content-length: 5\r\n\r\n"
BODY = b'{"model": "m"}'


class Parsed:
    """What a parser reads that begins anew."""

    def __init__(self, data: bytes) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.heads = self.ends = 0
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
            self.is_whole = self.heads == self.ends == 1
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1


def request(length: bytes | None = None, body: bytes = BODY, lines: bytes = LINES) -> bytes:
    return lines % (b"%d" % len(body) if length is None else length) + body


def known(data: bytes | None = None, *, keeps_alive: bool = True) -> KnownHead | None:
    data = request() if data is None else data
    fields = dict(reversed(Parsed(data).fields))
    return KnownHead.of(data, Head("POST", "/v1/chat/completions", "1.1", fields, keeps_alive))


def but_length(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The first field of each name. A head that is known says nothing of lengths: each body has its own."""
    return {name: value for name, value in reversed(list(fields)) if name != b"content-length"}


def test_the_same_head_is_known_with_a_body_of_any_length() -> None:
    same = known()
    assert same is not None

    assert same.read(request()) == BODY
    assert same.read(request(body=BODY * 100)) == BODY * 100
    assert same.read(request(body=b"")) == b""
    head = same.head
    assert (head.method, head.path, head.version) == ("POST", "/v1/chat/completions", "1.1")
    assert head.fields == but_length(Parsed(request()).fields) == {b"host": b"x", b"x": b"content-length: 5"}


@pytest.mark.parametrize("field", [b"X-Request-Id: 1", b"x-client-request-id: 1", b"Traceparent: 1"])
def test_heads_with_something_to_note_are_told_apart(field: bytes) -> None:
    plain, noted = known(), known(request(lines=LINES.replace(b"Host: x", field)))

    assert [head and head.head.is_noted for head in (plain, noted)] == [False, True]


@pytest.mark.parametrize(
    "other",
    [
        request()[:-1],
        request() + b"P",
        request() + request(),
        request(b"+14"),
        request(b"1_4"),
        request(b" 14"),
        request(b"14 "),
        request(b""),
        request(b"14\r\nTransfer-Encoding: chunked"),
        request(b"\xd9\xa3"),
        request(b"00000000000000014"),
        request().replace(b"Host: x", b"Host: y"),
        request().replace(b": 5\r\n", b": 6\r\n"),
        request().replace(b"Content-L", b"content-l"),
        b"",
    ],
)
def test_anything_else_is_the_parsers(other: bytes) -> None:
    same = known()
    assert same is not None

    assert same.read(other) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        request()[:-1],
        request() + b"GET / HTTP/1.1\r\n",
        request(lines=LINES.replace(b"Host: x", b"Host: " + b"x" * 4096)),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_whole_request_with_a_length_is_not_learnt(data: bytes) -> None:
    assert known(data) is None


def test_a_client_that_means_to_close_is_not_learnt() -> None:
    assert known(keeps_alive=False) is None


SPOILT = st.sampled_from(
    [b"", b"0", b"1", b"14", b" ", b"\r", b"\n", b"\r\n", b"\0", b",", b"+", b":", b"a", b"\xb2"]
)


@given(st.integers(0, len(request())), st.integers(0, 3), SPOILT, st.binary(max_size=30))
@example(request().index(b"14"), 0, b"0", b"")
def test_what_is_known_is_what_a_parser_reads(at: int, drop: int, put: bytes, body: bytes) -> None:
    same = known()
    assert same is not None
    whole = request(body=body)
    data = whole[:at] + put + whole[at + drop :]

    read, parsed = same.read(data), Parsed(data)

    if read is not None:
        assert parsed.is_whole
        assert read == parsed.body
        assert same.head.fields == but_length(parsed.fields)
        assert int(dict(reversed(parsed.fields))[b"content-length"]) == len(read)
    elif data == whole:
        pytest.fail("the same head was not known")
