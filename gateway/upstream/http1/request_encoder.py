"""Requests as bytes: a head is checked and joined once for all of its requests."""

from __future__ import annotations

import re

from gateway.upstream.port import Headers, RequestHead, UpstreamRequest

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_TARGET = re.compile(rb"[\x21-\x7e]+")
_FORBIDDEN_IN_VALUES = re.compile(rb"[\r\n\0]")  # RFC 9110, section 5.5
_OWN = frozenset({b"host", b"content-length", b"connection", b"transfer-encoding", b"expect", b"upgrade"})
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_JOINED_BODY_BYTES = 65536  # below this a copy is cheaper than a second buffer for the kernel


def encode_head(head: RequestHead, host: bytes) -> bytes:
    """What all requests of `head` begin with; `host` is the value of that header.

    Raises:
        ValueError: a method, target or header that cannot stand in a request, or a header which is
            the transport's to set. The caller made it, so no upstream is at fault.
    """
    check(head)
    start = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (head.method.encode(), head.target.encode(), host)
    return start + _lines(head.headers)


def encode(head: bytes, request: UpstreamRequest) -> tuple[bytes, ...]:
    """The buffers of one request, mostly one. `head` is what `encode_head` made of its head.

    Raises:
        ValueError: as above, of a header that it alone has.
    """
    body = request.body
    if request.more:
        check_headers(request.more)
        head += _lines(request.more)
    if not body:
        has_length = request.head.method not in _WITHOUT_BODY
        return (head + (b"content-length: 0\r\n\r\n" if has_length else b"\r\n"),)
    if len(body) <= _JOINED_BODY_BYTES:
        return (b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body),)
    return (b"%bcontent-length: %d\r\n\r\n" % (head, len(body)), body)


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def check(head: RequestHead) -> None:
    """Refuse what cannot stand in a request, or would make a second one of it.

    Raises:
        ValueError: names the part at fault, never its value.
    """
    if not _TOKEN.fullmatch(head.method.encode()):
        raise ValueError("a request method must be a token")
    if not _TARGET.fullmatch(head.target.encode()):
        raise ValueError("a request target must be printable ASCII without spaces")
    check_headers(head.headers)


def check_headers(headers: Headers) -> None:
    """The same of headers alone."""
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise ValueError("a header name must be a token")
        if name.lower() in _OWN:
            raise ValueError(f"the header {name.decode()} is the transport's to set")
        if _FORBIDDEN_IN_VALUES.search(value):
            raise ValueError(f"the header {name.decode()} has a line break or NUL in its value")
