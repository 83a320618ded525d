"""The transport port: a request goes out, a status comes back at once, the body comes by callback."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import msgspec


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go. Equal origins share a pool.

    Args:
        scheme: "http", "https" or "unix".
        host: name or address; for "unix" the socket's path.
        port: 0 for "unix".
        allow_private: False refuses private and loopback addresses. Link-local and metadata addresses
            are refused always, judged by the address really connected to.
    """

    scheme: str
    host: str
    port: int
    allow_private: bool = True

    @property
    def host_header(self) -> bytes:
        """The value of the Host header: the port only where it is not the scheme's own."""
        if self.scheme == "unix":
            return b"localhost"
        text = f"[{self.host}]" if ":" in self.host else self.host
        name = text.encode() if text.isascii() else text.encode("idna")
        if self.port == (443 if self.scheme == "https" else 80):
            return name
        return b"%b:%d" % (name, self.port)


@dataclass(frozen=True)
class Timeouts:
    """Seconds. `first_token_s` bounds the wait for the head and, on streams, for the first content."""

    connect_s: float = 3.0
    first_token_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 900.0

    @cached_property
    def longest_s(self) -> float:
        """The longest of the waits that a call may be in."""
        return max(self.connect_s, self.first_token_s, self.idle_s)

    def within(self, left_s: float) -> Timeouts:
        """The same, but that no wait is longer than `left_s`."""
        return Timeouts(
            min(self.connect_s, left_s),
            min(self.first_token_s, left_s),
            min(self.idle_s, left_s),
            self.total_s,
        )


Headers = tuple[tuple[bytes, bytes], ...]


class RequestHead(msgspec.Struct, frozen=True, eq=False):
    """What many requests begin with. Make it once for all of them: transports keep what they make of it.

    `target` is the path with its query; `headers` are complete but for Host, Content-Length and Connection,
    which the transport adds.
    """

    origin: Origin
    method: str
    target: str
    headers: Headers


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One HTTP request, ready to go. `more` are headers that it alone has."""

    head: RequestHead
    body: bytes = b""
    timeouts: Timeouts = msgspec.field(default_factory=Timeouts)
    more: Headers = ()


class Sink(Protocol):
    """Receives a response's body, in order: any number of `data`, then exactly one of `end` or `fail`.

    Called from the event loop, never awaited, never after `UpstreamResponse.abort()`.
    """

    def data(self, chunk: bytes) -> None:
        """The next bytes of the body, without transfer coding."""

    def end(self) -> None:
        """The body is complete by its framing."""

    def fail(self, error: Exception) -> None:
        """The connection broke, or the framing was violated, before the body was complete."""


class UpstreamResponse(Protocol):
    """A response whose head has come. The body is held back (reading paused past 64 KiB) until `attach`."""

    status: int
    last_byte_at: float
    """When its last byte came, by the loop's clock."""
    whole: bytes | None
    """The body, where all of it is there and nobody was to have it: no need to wait for `read`."""

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """All of them in order; lower-case names."""

    def header(self, name: bytes) -> bytes | None:
        """The first header of this lower-case name."""

    def has_any(self, beginning: bytes) -> bool:
        """Whether the lower-case name of any header begins so."""

    def attach(self, sink: Sink) -> None:
        """Deliver the body, what was held included, to `sink` from now on. At most once."""

    async def read(self, limit: int, until: float = math.inf) -> bytes:
        """The whole body, instead of `attach`; cancelling closes the connection.

        Raises:
            AttemptFailed: `bad_response` past `limit` bytes or on broken framing, `timeout` when `idle_s`
                passes without a byte, or the loop's clock `until`.
        """

    def pause(self) -> None:
        """Stop reading from the socket (a slow client). Idempotent."""

    def resume(self) -> None:
        """Read on. Idempotent."""

    def abort(self) -> None:
        """Close the connection unless the body is complete. Idempotent; silences the sink."""


class Transport(Protocol):
    """Sends requests. Raises `AttemptFailed` with `connect`, `timeout` or `bad_response`."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Connect (or take a pooled connection), send, and wait for the response's head.

        Cancelling the call closes its connection. 1xx answers are skipped; redirects are not followed.
        """

    async def aclose(self) -> None:
        """Close every connection."""
