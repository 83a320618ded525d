"""Fields of a key as a caller chose them, into fields of its record. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.auth.record import KeyBudget, KeyRecord
from gateway.control.key_schema import DEFAULT
from gateway.domain.errors import InvalidRequest
from gateway.limits.values import UNLIMITED

LIMITS = ("rpm", "tpm", "concurrency")

_NULL_IS_DEFAULT: Mapping[str, Any] = {
    "training": False,
    "may_pin": False,
    "cache_scope": "key",
    "metadata": {},
}


def changed(record: KeyRecord, fields: Mapping[str, Any], now: float) -> KeyRecord:
    """The record with these fields of `KeyFields` in it; those that are absent stay as they are.

    Null means no restriction, and where that has no sense, the default: nobody is given training or pinning
    by a null. `credit_usd` decides only whether the key pays from credit: granting is no matter of records.

    Raises `InvalidRequest` for a value that cannot be.
    """
    if fields.get("expires_at") is not None and fields["expires_at"] <= now:
        raise InvalidRequest("`expires_at` must be in the future, in unix seconds.", "expires_at")
    chosen: dict[str, Any] = {
        name: _NULL_IS_DEFAULT.get(name) if value is None else value for name, value in fields.items()
    }
    for name in ("aliases", "models", "routes"):
        if isinstance(chosen.get(name), list):
            chosen[name] = tuple(dict.fromkeys(chosen[name]))
    if "limits" in fields:
        chosen["limits"] = _limits(record.limits, fields["limits"])
    if fields.get("budget") is not None:
        budget = fields["budget"]
        chosen["budget"] = KeyBudget(budget["usd"], budget["period"])  # read as nano-dollars by its schema
    if "credit_usd" in fields:
        chosen["has_credit"] = chosen.pop("credit_usd") is not None
    return msgspec.structs.replace(record, **chosen)


def _limits(known: Mapping[str, int | None], given: Mapping[str, Any] | None) -> dict[str, int | None]:
    if given is None:
        return dict.fromkeys(LIMITS)
    merged = {**known, **given}
    return {
        name: None if merged[name] is None or merged[name] >= UNLIMITED else merged[name]
        for name in LIMITS
        if merged.get(name, DEFAULT) != DEFAULT
    }
