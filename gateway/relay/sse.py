"""Server-sent events: bytes to events (WHATWG HTML, "Interpreting an event stream").

Lines end at CR, LF or CRLF and at nothing else: JSON strings may hold U+2028 or U+0085. Any cutting of
the same bytes yields the same events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_EVENT_BYTES = 1 << 20
"""The longest event that is held before it is complete: 1 MiB."""

_BOM = b"\xef\xbb\xbf"
# A blank line: two line ends in a row. A CR at the very end of the buffer may be half of a CRLF, so the
# decoder waits for the next byte before it lets the event go.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One message of an event stream.

    Args:
        raw: its bytes as they came, the blank line included.
        data: the values of its `data:` lines, in order.
        extras: it has `event`, `id` or `retry` fields, or lines that are no fields at all.
        event: the value of its last `event:` line, empty where there is none.
        stray: a line that is no field and looks like JSON: some servers append an error that way.
    """

    raw: bytes
    data: tuple[bytes, ...] = ()
    extras: bool = False
    event: bytes = b""
    stray: bytes = b""

    @property
    def text(self) -> bytes:
        """The data as one value: its lines joined by newlines."""
        return b"\n".join(self.data)


class SSEDecoder:
    """Bytes in, events out; no socket, no await."""

    __slots__ = ("_at_start", "_max", "_scanned", "held", "is_overlong")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self.held = b""
        """Bytes of an event that is not complete yet."""
        self._scanned = 0
        self._at_start = True
        self.is_overlong = False
        """True once an event grew past the limit: nothing comes any more."""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. Past an event that is too long there are none."""
        return [parse(raw) for raw in self.split(chunk)]

    def split(self, chunk: bytes) -> list[bytes]:
        """Likewise, but as they came, the blank line included."""
        if self.is_overlong:
            return []
        held = self.held + chunk if self.held else chunk
        if self._at_start:
            if len(held) < 3 and _BOM.startswith(held):
                self.held = held
                return []
            held = held.removeprefix(_BOM)
            self._at_start = False
        events: list[bytes] = []
        start, position = 0, self._scanned
        while (found := _BLANK_LINE.search(held, position)) is not None:
            position = found.end()
            if position == len(held) and held.endswith(b"\r"):
                break  # the LF of a CRLF may still come, and belongs to this event
            if position - start > self._max:
                self.is_overlong = True
                return events
            events.append(held[start:position])
            start = position
        self.held = held[start:]
        self._scanned = max(0, len(self.held) - 3)
        self.is_overlong = len(self.held) > self._max
        return events

    def whole(self, chunk: bytes) -> bytes:
        """What is held and `chunk`, up to the last LF LF in it; nothing changes until `skip` or `feed`."""
        if chunk.endswith(b"\n\n"):
            return self.held + chunk
        end = chunk.rfind(b"\n\n") + 2
        return self.held + chunk[:end] if end > 1 else b""

    def skip(self, block: bytes, chunk: bytes) -> list[bytes]:
        """`whole(chunk)` was `block` and needs no parsing: the events behind it, as `split` gives them."""
        rest = chunk[len(block) - len(self.held) :]
        self.held = b""
        self._scanned = 0
        return self.split(rest) if rest else []

    def close(self) -> list[bytes]:
        """The event that was left without a blank line behind it, if any."""
        held, self.held = self.held, b""
        return [held] if held.strip(b"\r\n") else []


def parse(raw: bytes) -> Event:
    """Read one event."""
    data: list[bytes] = []
    extras = False
    event = stray = b""
    for line in _LINE_END.split(raw):
        if line.startswith(b"data:"):
            value = line[5:]
            data.append(value.removeprefix(b" "))
        elif line == b"data":
            data.append(b"")
        elif line and not line.startswith(b":"):
            extras = True
            if line.startswith(b"event:"):
                event = line[6:].strip()
            elif line.startswith(b"{"):
                stray = line
    return Event(raw, tuple(data), extras, event, stray)
