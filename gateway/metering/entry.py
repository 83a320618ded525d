"""A settlement as one line of JSON in the journal, made to be read by humans too."""

from __future__ import annotations

import msgspec

from gateway.limits.values import Settlement


class _Entry(msgspec.Struct):
    settlement: Settlement
    record: msgspec.Raw  # beside it, as the settlement holds it as bytes, which JSON would not show


class _Id(msgspec.Struct):
    request_id: str


class _IdOnly(msgspec.Struct):
    settlement: _Id


def encode_entry(settlement: Settlement) -> bytes:
    """The entry of a settlement."""
    record = msgspec.Raw(settlement.record or b"null")
    return _encode(_Entry(msgspec.structs.replace(settlement, record=b""), record))


def decode_entry(payload: bytes) -> Settlement:
    """The settlement of an entry. Raises `ValueError` for what another version wrote in another form."""
    entry = _ENTRIES.decode(payload)
    record = bytes(entry.record)
    return msgspec.structs.replace(entry.settlement, record=b"" if record == b"null" else record)


def request_id_of(payload: bytes) -> str:
    """Which request an entry settles. Raises `ValueError` likewise."""
    return _IDS.decode(payload).settlement.request_id


_encode = msgspec.json.Encoder().encode
_ENTRIES = msgspec.json.Decoder(_Entry)
_IDS = msgspec.json.Decoder(_IdOnly)
