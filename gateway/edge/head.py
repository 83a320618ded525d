"""The head of a request; and the one a client sent before, known again without a parser."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.auth.keyring import Proof
from gateway.domain.call import CallOptions
from gateway.domain.principal import Principal
from gateway.edge.routes import Route

_LENGTH = b"content-length"
_MOST_BYTES = 4096
"""Of a head that is remembered: each open connection may have one."""
_MOST_DIGITS = 10
_IDENTITY = (b"", b"identity")
_NOTED = frozenset({b"x-request-id", b"x-client-request-id", b"traceparent"})


class Head(msgspec.Struct):
    """What a request says before its body. It stays as it came; what is made of it is kept with it.

    Args:
        path: of the target, unquoted.
        version: "1.0" or "1.1".
        fields: the first field of each lower-case name; of a head that is known again, but for the length.
        keeps_alive: the client means to use the connection again.
        is_noted: whether a field is of those that are noted of a request.
        is_encoded: its body is compressed, or coded in another way.
        proof: of its key, as the keyring has it, once somebody has looked.
        route: that it names.
        principal: who was found to be allowed there.
        options: that it asks for.
    """

    method: str
    path: str
    version: str
    fields: Mapping[bytes, bytes]
    keeps_alive: bool
    is_noted: bool = False
    is_encoded: bool = False
    proof: Proof | None = None
    route: Route | None = None
    principal: Principal | None = None
    options: CallOptions | None = None

    def __post_init__(self) -> None:
        self.is_noted = not _NOTED.isdisjoint(self.fields)
        self.is_encoded = self.fields.get(b"content-encoding", b"").strip().lower() not in _IDENTITY


class KnownHead:
    """A head that was parsed, as bytes.

    A client that keeps its connection sends the same head each time, but for the length of the body. The same
    bytes at the same place mean the same, so a parser that begins anew need not see them again.
    """

    __slots__ = ("_before", "_behind", "_latest", "_start", "head")

    def __init__(self, head: Head, before: bytes, behind: bytes) -> None:
        self.head = head
        self._before = before
        self._behind = behind
        self._start = len(before)
        self._latest = self._start + _MOST_DIGITS + len(behind)

    @classmethod
    def of(cls, data: bytes, head: Head) -> KnownHead | None:
        """The head of `data`, which was one whole request; None where it is not of the usual kind.

        Args:
            head: what the parser read there.
        """
        digits = head.fields.get(_LENGTH, b"")
        end = data.find(b"\r\n\r\n") + 4
        if not head.keeps_alive or not _is_length(digits) or b"transfer-encoding" in head.fields:
            return None
        if not 4 <= end <= _MOST_BYTES or len(data) - end != int(digits):
            return None
        names = data[:end].lower()
        line = names.find(b"\r\n" + _LENGTH + b":")
        if line < 0:
            return None
        start = data.index(digits, line + len(_LENGTH) + 3)
        fields = {name: value for name, value in head.fields.items() if name != _LENGTH}
        known = Head(head.method, head.path, head.version, fields, head.keeps_alive)
        return cls(known, data[:start], data[start + len(digits) : end])

    def read(self, data: bytes) -> bytes | None:
        """The body, where `data` is one whole request with this head; else None."""
        if not data.startswith(self._before):
            return None
        start = self._start
        end = data.find(self._behind, start, self._latest)
        if end < 0:
            return None
        digits, body = data[start:end], data[end + len(self._behind) :]
        return body if digits.isdigit() and int(digits) == len(body) else None


def _is_length(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) <= _MOST_DIGITS
