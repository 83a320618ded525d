r"""The text of a journal file: one head, then one line an entry, each with a checksum. No I/O.

    tunegate-journal 1 <position, 16 hex digits> <CRC-32 of what stands before it, 8 hex digits>\n
    <CRC-32 of the payload, 8 hex digits> <payload, without a line feed>\n
    ...

The head has one length for ever, so that it is written over in place: `position` is the offset of the first
entry that is not done yet. A head that cannot be read stands for the beginning, since entries may be
replayed twice but never not at all. A line whose checksum is wrong is no entry: at the end of a file it is
the trace of a write that was cut and never acknowledged.
"""

from __future__ import annotations

from zlib import crc32

_MAGIC = b"tunegate-journal 1 "
_CRC_DIGITS = 8
HEAD_BYTES = len(_MAGIC) + 16 + 1 + _CRC_DIGITS + 1


def head(position: int) -> bytes:
    """The head of a file whose entries before `position` are done."""
    told = b"%b%016x " % (_MAGIC, position)
    return b"%b%08x\n" % (told, crc32(told))


def position_of(start: bytes) -> int:
    """What the head at the start of a file says; the end of the head where it says nothing."""
    told, crc = start[: HEAD_BYTES - _CRC_DIGITS - 1], start[HEAD_BYTES - _CRC_DIGITS - 1 : HEAD_BYTES]
    if not told.startswith(_MAGIC) or crc != b"%08x\n" % crc32(told):
        return HEAD_BYTES
    return max(HEAD_BYTES, int(told[len(_MAGIC) : -1], 16))


def line(payload: bytes) -> bytes:
    """The line of one entry. Raises `ValueError` for a payload with a line feed in it."""
    if b"\n" in payload:
        raise ValueError("an entry of the journal has to be one line")
    return b"%08x %b\n" % (crc32(payload), payload)


def payload_of(raw: bytes) -> bytes | None:
    """The payload of a line, line feed included; None where the line is damaged or incomplete."""
    payload = raw[_CRC_DIGITS + 1 : -1]
    return payload if raw == b"%08x %b\n" % (crc32(payload), payload) else None
