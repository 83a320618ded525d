"""What callers of the admin API say about virtual keys, and what they are told."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from gateway.auth.record import KeyStatus
from gateway.domain.principal import ROUTE_NAMES

MAX_GRACE_S = 30 * 24 * 3600
_LATEST = 253402300799  # the last second of the year 9999: what every date library can show
_METADATA_BYTES = 16 * 1024


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("must be printable text")
    return text


def _route_names(routes: list[str]) -> list[str]:
    for route in routes:
        if route not in ROUTE_NAMES:
            raise ValueError(f'unknown route "{route}"; known: {", ".join(ROUTE_NAMES)}')
    return routes


def _storable(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        size = len(msgspec.json.encode(metadata))
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise ValueError("holds text or numbers that JSON cannot carry") from error
    if size > _METADATA_BYTES:
        raise ValueError(f"may take {_METADATA_BYTES} bytes of JSON, not {size}")
    return metadata


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
_Names = Annotated[list[Name], Field(max_length=1000)]
_Limit = Annotated[int, Field(ge=0)]


class _Body(BaseModel):
    """Unknown fields are errors, and nothing is guessed: "1" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class KeyLimits(_Body):
    """Absent = the configured default, null or 10^9 and more (concurrency: 10^6) = unlimited, 0 = refuse."""

    rpm: _Limit | None = None
    tpm: _Limit | None = None
    concurrency: _Limit | None = None


class KeyFields(_Body):
    """The fields of a key that can be chosen. In an allow-list null is no restriction, [] allows nothing."""

    aliases: _Names | None = None
    models: _Names | Literal["aliases-only"] | None = None
    routes: Annotated[list[str], AfterValidator(_route_names)] | None = None
    limits: KeyLimits | None = None
    budget: JsonValue = None
    credit_usd: JsonValue = None
    training: bool | Literal["all"] | None = None
    max_output_tokens: JsonValue = None
    may_pin: bool | None = None
    cache_scope: Literal["key", "team"] | None = None
    expires_at: Annotated[int, Field(ge=0, le=_LATEST)] | None = None
    team: Name | None = None
    metadata: Annotated[dict[str, JsonValue], AfterValidator(_storable)] | None = None


class CreateKey(KeyFields):
    """A new key."""

    name: Name


class UpdateKey(KeyFields):
    """A change of a key: fields that are absent stay as they are."""

    name: Name = Field(default="", description="Absent = as it is; null is no name.")


class RotateKey(_Body):
    """`grace_s`: how long the old secret works beside the new one."""

    grace_s: Annotated[int, Field(ge=0, le=MAX_GRACE_S)] = 0


class ShownKey(BaseModel):
    """A virtual key. `limits` is what bounds it in this version: null = unlimited."""

    object: Literal["key"] = "key"
    id: str
    name: str
    redacted: str
    status: KeyStatus
    aliases: list[str] | None
    models: list[str] | Literal["aliases-only"] | None
    routes: list[str] | None
    limits: dict[str, int | None]
    budget: dict[str, Any] | None
    credit_usd: str | None
    training: bool | Literal["all"]
    max_output_tokens: int | None
    team: str | None
    may_pin: bool
    cache_scope: Literal["key", "team"]
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    metadata: dict[str, Any]


class IssuedKey(ShownKey):
    """A virtual key with its secret, which is shown this once."""

    key: str = Field(description="What the key's holder sends as bearer token.")


class KeyList(BaseModel):
    """Keys, newest first. `next` is the id to give as `after` for the next page."""

    object: Literal["list"] = "list"
    data: list[ShownKey]
    has_more: bool
    next: str | None


class KeyDeleted(BaseModel):
    """The key is revoked."""

    id: str
    object: Literal["key.deleted"] = "key.deleted"
    deleted: Literal[True] = True
