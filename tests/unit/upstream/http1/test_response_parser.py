"""The law of the parser: any cutting of the same bytes gives the same head, the same body, the same end."""

from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import pytest
from httptools import HttpParserError, HttpResponseParser
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.http1.response_parser import MAX_HEAD_BYTES, MAX_HEADERS, ResponseParser, fields_of

OK = b"HTTP/1.1 200 OK\r\n"


@dataclass(frozen=True)
class Seen:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_complete: bool
    is_broken: bool
    is_reusable: bool


def parse(parser: ResponseParser, pieces: list[bytes], *, bodyless: bool = False, eof: bool = False) -> Seen:
    if bodyless:
        parser.expect_no_body()
    body = b""
    for piece in pieces:
        body += parser.feed(piece)
        if parser.error is not None:  # a connection reads no further
            break
    if eof:
        parser.eof()
    return Seen(
        parser.status,
        fields_of(parser.head),
        body,
        parser.complete,
        parser.error is not None,
        parser.renew(),
    )


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(wire) + 1) for place in places}), len(wire)]
    return [wire[a:b] for a, b in pairwise(edges) if a != b]


tokens = st.from_regex(rb"[A-Za-z][A-Za-z0-9\-]{0,12}", fullmatch=True).filter(
    lambda name: name.lower() not in (b"content-length", b"transfer-encoding", b"connection", b"upgrade")
)
values = st.from_regex(rb"(?:[!-~](?:[ -~]{0,20}[!-~])?)?", fullmatch=True)
header_lists = st.lists(st.tuples(tokens, values), max_size=6)
bodies = st.binary(max_size=300)
extensions = st.sampled_from([b"", b";a=1", b';a="b c"', b" ;x"])


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, Seen, bool]:
    """A well-formed answer, what should be seen of it, and whether only the connection's end ends it."""
    status = draw(st.sampled_from([200, 201, 302, 400, 429, 500, 503]))
    headers = draw(header_lists)
    body = draw(bodies)
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    keeps = framing != "close" and draw(st.booleans())
    added = []
    if framing == "length":
        added.append((b"Content-Length", b"%d" % len(body)))
        payload = body
    elif framing == "chunked":
        added.append((b"Transfer-Encoding", b"chunked"))
        payload = b""
        rest = body
        while rest:
            size = draw(st.integers(1, len(rest)))
            payload += b"%x%b\r\n%b\r\n" % (size, draw(st.sampled_from([b"", b";a=1"])), rest[:size])
            rest = rest[size:]
        payload += b"0\r\n" + draw(st.sampled_from([b"", b"X-Trailer: 1\r\n"])) + b"\r\n"
    else:
        payload = body
    if framing != "close" and not keeps:
        added.append((b"Connection", b"close"))
    everything = [*headers, *added]
    interim = draw(
        st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nLink: a\r\n\r\n" * 2])
    )
    head = b"HTTP/1.1 %d %b\r\n" % (status, draw(st.sampled_from([b"OK", b"", b"Some Thing"])))
    head += b"".join(
        b"%b:%b%b\r\n" % (name, draw(st.sampled_from([b"", b" "])), value) for name, value in everything
    )
    expected = Seen(
        status=status,
        headers=tuple((name.lower(), value) for name, value in everything),
        body=body,
        is_complete=True,
        is_broken=False,
        is_reusable=keeps,
    )
    return interim + head + b"\r\n" + payload, expected, framing == "close"


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(message=messages(), places=st.lists(st.integers(0, 2000), max_size=12))
def test_any_cutting_gives_what_was_sent(message: tuple[bytes, Seen, bool], places: list[int]) -> None:
    wire, expected, ends_by_close = message
    assert parse(ResponseParser(), [wire], eof=ends_by_close) == expected
    assert parse(ResponseParser(), cut(wire, places), eof=ends_by_close) == expected
    assert parse(ResponseParser(), [wire[i : i + 1] for i in range(len(wire))], eof=ends_by_close) == expected


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(parts=st.lists(messages(), min_size=2, max_size=4), places=st.lists(st.integers(0, 2000), max_size=6))
def test_one_parser_serves_all_answers_of_a_connection(
    parts: list[tuple[bytes, Seen, bool]], places: list[int]
) -> None:
    parser = ResponseParser()
    for wire, expected, _ in parts:
        if not expected.is_reusable:
            continue
        assert parse(parser, cut(wire, places)) == expected


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(message=messages(), keep=st.integers(0, 2000), places=st.lists(st.integers(0, 2000), max_size=6))
def test_a_prefix_is_never_complete_and_never_wrong(
    message: tuple[bytes, Seen, bool], keep: int, places: list[int]
) -> None:
    wire, expected, ends_by_close = message
    wire = wire[: keep % len(wire)]
    seen = parse(ResponseParser(), cut(wire, places))
    assert not seen.is_complete
    assert not seen.is_broken
    assert expected.body.startswith(seen.body)
    if not ends_by_close:
        assert not parse(ResponseParser(), [wire], eof=True).is_complete


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(wire=st.binary(max_size=200), places=st.lists(st.integers(0, 200), max_size=6))
def test_noise_is_refused_the_same_however_it_is_cut(wire: bytes, places: list[int]) -> None:
    for start in (b"", OK, OK + b"Transfer-Encoding: chunked\r\n\r\n"):
        whole = parse(ResponseParser(), [start + wire])
        assert parse(ResponseParser(), cut(start + wire, places)) == whole


@pytest.mark.parametrize(
    "wire",
    [
        b"<html>",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        OK + b"Content-Length: 1, 2\r\n\r\nok",
        OK + b"Content-Length: +2\r\n\r\nok",
        OK + b"Content-Length: 99999999999999999999\r\n\r\nok",
        OK + b"X: a\r\n folded\r\n\r\n",
        OK + b"X : a\r\n\r\n",
        OK + b"X: a\0b\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nokk",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_what_can_be_read_in_two_ways_is_refused(wire: bytes, step: int) -> None:
    seen = parse(ResponseParser(), [wire[i : i + step] for i in range(0, len(wire), step)])
    assert seen.is_broken
    assert not seen.is_complete
    assert not seen.is_reusable


@pytest.mark.parametrize("behind", [b"H", b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"\0"])
def test_bytes_behind_an_answer_spoil_the_connection_only(behind: bytes) -> None:
    parser = ResponseParser()
    seen = parse(parser, [OK + b"Content-Length: 2\r\n\r\nok" + behind])
    assert (seen.body, seen.is_complete, seen.is_broken, seen.is_reusable) == (b"ok", True, False, False)


def test_an_answer_to_head_ends_with_its_head() -> None:
    parser = ResponseParser()
    wire = OK + b"Content-Length: 5\r\n\r\n"
    assert parse(parser, [wire], bodyless=True).is_reusable
    assert parse(parser, [OK + b"Transfer-Encoding: chunked\r\n\r\n"], bodyless=True).is_reusable
    assert parse(parser, [wire + b"hello"]).body == b"hello"
    seen = parse(parser, [wire + b"hello"], bodyless=True)
    assert (seen.body, seen.is_complete, seen.is_reusable) == (b"", True, False)


@pytest.mark.parametrize(
    ("coding", "ends"),
    [(b"chunked", False), (b"gzip, chunked", False), (b"gzip", True), (b"chunked, gzip", True)],
)
def test_only_a_final_chunked_coding_has_an_end_of_its_own(coding: bytes, ends: bool) -> None:
    assert (
        parse(ResponseParser(), [OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n"], eof=True).is_complete
        is ends
    )


def test_white_space_around_values_is_dropped() -> None:
    seen = parse(ResponseParser(), [OK + b"X: \t a b \t\r\nContent-Length: 0 \r\n\r\n"])
    assert seen.headers == ((b"x", b"a b"), (b"content-length", b"0"))


class Fields:
    """What httptools itself tells of the fields of a final head."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.is_complete = False
        self.machine = HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_complete:
            self.seen.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        if self.machine.get_status_code() < 200:
            self.seen.clear()
        else:
            self.is_complete = True


odd_pieces = st.sampled_from(
    [b"a", b"X-y", b":", b": ", b" ", b"\t", b"\x0b", b"\x85", b"\xff", b"-", b"\r", b"\n", b"Set-Cookie: a"]
)


@settings(max_examples=2000, derandomize=True, deadline=None, database=None)
@given(
    before=st.sampled_from([b"", b"\r\n", b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n"]),
    lines=st.lists(st.lists(odd_pieces, max_size=5).map(b"".join), max_size=4),
)
def test_fields_are_those_that_httptools_sees(before: bytes, lines: list[bytes]) -> None:
    wire = before + OK + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    fields = Fields()
    with suppress(HttpParserError):
        fields.machine.feed_data(wire)
    parser = ResponseParser()
    parser.feed(wire)

    assert parser.head_ready is fields.is_complete
    assert not parser.head_ready or fields_of(parser.head) == tuple(fields.seen)


@pytest.mark.parametrize("step", [1000, 10_000_000])
def test_heads_are_bounded(step: int) -> None:
    def broken(wire: bytes) -> bool:
        return parse(ResponseParser(), [wire[i : i + step] for i in range(0, len(wire), step)]).is_broken

    assert broken(OK + b"X: " + b"x" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n")
    assert broken(OK + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n")
    assert not broken(OK + b"X: " + b"x" * (MAX_HEAD_BYTES - 1000) + b"\r\nContent-Length: 0\r\n\r\n")
    assert not broken(OK + b"X: y\r\n" * MAX_HEADERS + b"\r\n")
    assert not broken(OK + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
    assert not broken(OK + b"X: " + b"x" * (MAX_HEAD_BYTES - 1000) + b"\r\nContent-Length: 1000000\r\n\r\n")


def test_chatter_without_a_body_is_bounded() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert parse(ResponseParser(), [interim] * 10_000).is_broken
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    assert parse(ResponseParser(), [head, *[b"1;" + b"x" * 999] * 100]).is_broken
    assert parse(ResponseParser(), [head, b"0\r\n", *[b"X: y\r\n"] * 20_000]).is_broken


def test_chunk_sizes_in_reads_of_their_own_do_not_add_up() -> None:
    pieces = [b"1\r\n", b"x", b"\r\n"] * 30_000
    seen = parse(ResponseParser(), [OK + b"Transfer-Encoding: chunked\r\n\r\n", *pieces, b"0\r\n\r\n"])
    assert (len(seen.body), seen.is_complete, seen.is_broken) == (30_000, True, False)
