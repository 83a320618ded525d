"""Where a request stands in a trace: W3C Trace Context (https://www.w3.org/TR/trace-context-2/)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace

SAMPLED = 0x01

# Later versions may say more after the flags; the first one may not (section 3.2.4).
_PARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_STATE = re.compile(rb"[\t\x20-\x7e]{1,512}")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace.

    Args:
        trace_id: 32 hexadecimal digits.
        span_id: 16 of them: the span that calls made from here have as their parent.
        parent_id: the span that `span_id` has as its parent; None for a root, or where `span_id` is not ours.
        flags: a byte; `SAMPLED` is one of its bits.
        state: `tracestate`, as it came.
        is_ours: the gateway makes spans of its own; otherwise the context is handed on as it came.
    """

    trace_id: str
    span_id: str
    parent_id: str | None = None
    flags: int = 0
    state: bytes | None = None
    is_ours: bool = False

    @property
    def is_sampled(self) -> bool:
        """True where somebody keeps the spans of this trace."""
        return bool(self.flags & SAMPLED)

    def child(self) -> TraceContext:
        """The place of a call that is made from here: a span of its own, or this one handed on."""
        if not self.is_ours:
            return self
        return replace(self, span_id=secrets.token_hex(8), parent_id=self.span_id)

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """`traceparent` and, where there is one, `tracestate`."""
        parent = f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}".encode()
        if self.state is None:
            return ((b"traceparent", parent),)
        return ((b"traceparent", parent), (b"tracestate", self.state))


def parse_trace(parent: bytes, state: bytes | None) -> TraceContext | None:
    """Read a caller's headers; None where `traceparent` is malformed. A `tracestate` that is, is left out."""
    found = _PARENT.fullmatch(parent.strip())
    if found is None or (found[1] == b"00" and found[5] is not None):
        return None
    flags = int(found[4], 16)
    known = state is not None and _STATE.fullmatch(state) is not None
    return TraceContext(found[2].decode(), found[3].decode(), None, flags, state if known else None)
