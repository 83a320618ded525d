"""Requests as bytes. Heads are validated and joined once for each tuple of headers, then remembered."""

from __future__ import annotations

import re

from gateway.upstream.port import UpstreamRequest

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_TARGET = re.compile(rb"[\x21-\x7e]+")
_FORBIDDEN_IN_VALUES = re.compile(rb"[\r\n\0]")  # RFC 9110, section 5.5
_OWN = frozenset({b"host", b"content-length", b"connection", b"transfer-encoding", b"expect", b"upgrade"})
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_REMEMBERED = 64  # heads: one for each credential and route in use; the memory is dropped when it is full
_JOINED_BODY_BYTES = 65536  # below this a copy is cheaper than a second buffer for the kernel


class RequestEncoder:
    """Encodes the requests to one origin."""

    __slots__ = ("_host", "_remembered")

    def __init__(self, host_header: bytes) -> None:
        self._host = host_header
        self._remembered: dict[int, tuple[tuple[tuple[bytes, bytes], ...], str, str, bytes]] = {}

    def encode(self, request: UpstreamRequest) -> tuple[bytes, ...]:
        """The buffers of one request, mostly one.

        A caller that passes the same tuple of headers again pays for neither checking nor joining them.

        Raises:
            ValueError: a method, target or header that cannot stand in a request, or a header which is
                the transport's to set. The caller made it, so no upstream is at fault.
        """
        headers = request.headers
        known = self._remembered.get(id(headers))
        if known is not None and known[1] == request.target and known[2] == request.method:
            head = known[3]  # it is this very tuple: the memory holds it, so its id cannot pass to another
        else:
            head = self._head(request)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[id(headers)] = (headers, request.target, request.method, head)
        body = request.body
        if not body:
            if request.method in _WITHOUT_BODY:
                return (head + b"\r\n",)
            return (head + b"content-length: 0\r\n\r\n",)
        if len(body) <= _JOINED_BODY_BYTES:
            return (b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body),)
        return (b"%bcontent-length: %d\r\n\r\n" % (head, len(body)), body)

    def _head(self, request: UpstreamRequest) -> bytes:
        check(request)
        lines = [
            b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (request.method.encode(), request.target.encode(), self._host)
        ]
        lines += [b"%b: %b\r\n" % header for header in request.headers]
        return b"".join(lines)


def check(request: UpstreamRequest) -> None:
    """Refuse what cannot stand in a request, or would make a second one of it.

    Raises:
        ValueError: names the part at fault, never its value.
    """
    if not _TOKEN.fullmatch(request.method.encode()):
        raise ValueError("a request method must be a token")
    if not _TARGET.fullmatch(request.target.encode()):
        raise ValueError("a request target must be printable ASCII without spaces")
    for name, value in request.headers:
        if not _TOKEN.fullmatch(name):
            raise ValueError("a header name must be a token")
        if name.lower() in _OWN:
            raise ValueError(f"the header {name.decode()} is the transport's to set")
        if _FORBIDDEN_IN_VALUES.search(value):
            raise ValueError(f"the header {name.decode()} has a line break or NUL in its value")
