"""One line of JSON for every request, on standard error."""

from __future__ import annotations

import asyncio

import msgspec

from gateway.telemetry.line_writer import LineWriter
from gateway.telemetry.stamp import Stamp


class Shared(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an access line has in common with those of other requests that are alike.

    With `Own` the fields are a closed set: no body, no header, no key finds its way in. Those at their
    default are left out of the line. What each means stands in docs/observability.md.
    """

    level: str
    method: str
    path: str
    status: int
    outcome: str = ""
    route: str | None = None
    key: str | None = None
    requested: str | None = None
    alias: str | None = None
    release: str | None = None
    model: str | None = None
    upstream: str | None = None
    stream: bool = False
    attempts: int = 0
    fallback: str | None = None
    cache: str | None = None
    error_type: str | None = None
    service_tier: str | None = None


class Own(msgspec.Struct, omit_defaults=True, tag_field="event", tag="request"):
    """What an access line tells of its request alone; `AccessLog.stamp` makes its `ts`."""

    ts: str = ""
    request_id: str = ""
    client_request_id: str | None = None
    trace_id: str | None = None
    upstream_request_id: str | None = None
    tried: list[str] | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_nanousd: int | None = None
    upstream_ms: float | None = None
    ttft_ms: float | None = None
    overhead_ms: float | None = None
    duration_ms: float | None = None


_COMMA = ord(",")

FIELDS = frozenset({"event", *Shared.__struct_fields__, *Own.__struct_fields__})
"""Of an access line."""


def encodable(value: object) -> object:
    """A value that JSON takes, for one that perhaps it does not: a lone surrogate is shown by its number."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()


class _Dropped(msgspec.Struct):
    ts: str
    count: int
    level: str = "warning"
    event: str = "log lines were dropped: nobody read them in time"


class AccessLog:
    """Writes access lines; those of one loop tick leave together, and a stuck reader stops nothing.

    Attributes:
        stamp: the time now, for a line.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int = 2) -> None:
        self.stamp = Stamp().now
        encoder = msgspec.json.Encoder()
        self._encode, self._append = encoder.encode, encoder.encode_into
        self._writer = LineWriter(loop, descriptor, self._notice)

    def shared(self, shared: Shared) -> bytes:
        """The part of lines that are alike, as `write` wants it: the end of a line."""
        try:
            text = self._encode(shared)
        except UnicodeEncodeError:
            text = self._shown(shared)
        return text[1:] + b"\n"

    def write(self, own: Own, shared: bytes) -> None:
        """Write one line."""
        pending = self._writer.room()
        if pending is None:
            return
        begin = len(pending)
        try:
            self._append(own, pending, -1)
        except UnicodeEncodeError:
            pending[begin:] = self._shown(own)  # in place of what was written before it failed
        pending[-1] = _COMMA  # in place of the end of an object
        pending.extend(shared)

    def _shown(self, part: Shared | Own) -> bytes:
        """A part with text in it that is no Unicode."""
        fields = msgspec.structs.asdict(part).items()
        tag = {"event": "request"} if isinstance(part, Own) else {}
        return self._encode(tag | {name: encodable(value) for name, value in fields if value is not None})

    def close(self) -> None:
        """Write what is left; for the end of the process."""
        self._writer.close()

    def _notice(self, count: int) -> bytes:
        return self._encode(_Dropped(self.stamp(), count)) + b"\n"
