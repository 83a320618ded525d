"""What callers of the admin API say about virtual keys, and what they are told."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from gateway.auth.record import KeyStatus
from gateway.domain.money import nanousd_of
from gateway.domain.principal import ROUTE_NAMES
from gateway.limits.values import MAX_NANOUSD

DEFAULT: Literal["default"] = "default"
"""As a limit: whatever the configuration says."""

MAX_GRACE_S = 30 * 24 * 3600
_LATEST = 253402300799  # the last second of the year 9999: what every date library can show
_METADATA_BYTES = 16 * 1024
_MOST_TOKENS = 10**9


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


def _nanousd(amount: Any) -> int:
    return nanousd_of(amount, MAX_NANOUSD)


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
_Names = Annotated[list[Name], Field(max_length=1000)]
_Limit = Annotated[int, Field(ge=0)] | Literal["default"]
_Grant = Annotated[int, BeforeValidator(_nanousd, json_schema_input_type=float | str)]
"""US dollars, a number or a text, read as nano-dollars."""
_Dollars = Annotated[_Grant, Field(ge=0)]


class _Body(BaseModel):
    """Unknown fields are errors, and nothing is guessed: "1" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class KeyLimits(_Body):
    """Null or 10^9 and more = unlimited, 0 = refuse, "default" = as the configuration says.

    Absent is "default" for a new key; in a change it is as before.
    """

    rpm: _Limit | None = Field(default=None, description="Requests a minute.")
    tpm: _Limit | None = Field(default=None, description="Tokens a minute, prompt and completion.")
    concurrency: _Limit | None = Field(default=None, description="Calls at once.")


class BudgetFields(_Body):
    """What the key may spend in each UTC day, each UTC month, or at all. Given, it replaces another whole."""

    usd: _Dollars = Field(description="0 to 9,000,000, nine decimals at most; 0 = refuse.")
    period: Literal["day", "month", "total"]


class KeyFields(_Body):
    """The fields of a key that can be chosen. In an allow-list null is no restriction, [] allows nothing."""

    aliases: _Names | None = None
    models: _Names | Literal["aliases-only"] | None = None
    routes: Annotated[list[str], AfterValidator(_route_names)] | None = None
    limits: KeyLimits | None = Field(default=None, description="Null = all three unlimited.")
    budget: BudgetFields | None = Field(default=None, description="Null = none.")
    credit_usd: _Dollars | None = Field(
        default=None,
        description="Makes the key pay from prepaid credit, and grants this much; null = it does not pay "
        "from credit, and what is left waits. A key that has credit is granted more by "
        "`POST /admin/v1/keys/{id}/credit`.",
    )
    training: bool | Literal["all"] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = Field(
        default=None, description="Cap on the output of each call; null = the model's own."
    )
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


class CreditKey(_Body):
    """Credit to grant."""

    usd: _Grant = Field(
        description="-9,000,000 to 9,000,000, nine decimals at most; negative takes back, below zero too."
    )
    note: Annotated[str, Field(max_length=1000)] | None = Field(default=None, description="For the log.")


class ShownBudget(BaseModel):
    """A budget as it was set. What is left of it stands in the holder's own `GET /v1/key`."""

    usd: str
    nanousd: int
    period: Literal["day", "month", "total"]


class ShownLimits(BaseModel):
    """Limits of a key; null = unlimited."""

    rpm: int | None
    tpm: int | None
    concurrency: int | None


class ShownKey(BaseModel):
    """A virtual key."""

    object: Literal["key"] = "key"
    id: str
    name: str
    redacted: str
    status: KeyStatus
    aliases: list[str] | None
    models: list[str] | Literal["aliases-only"] | None
    routes: list[str] | None
    limits: dict[str, int | None] = Field(
        description="Those that the key names: absent = the configured default, null = unlimited."
    )
    effective_limits: ShownLimits = Field(description="Those that hold, the default filled in.")
    budget: ShownBudget | None
    credit_usd: str | None = Field(
        description="What is left of its credit, calls in flight at the most they may cost; "
        "null = it does not pay from credit. Negative where a call cost more than was left, or too much "
        "was taken back."
    )
    credit_nanousd: int | None
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


class KeyCredit(BaseModel):
    """Credit was granted, or taken back."""

    object: Literal["key.credit"] = "key.credit"
    id: str
    granted_usd: str
    granted_nanousd: int
    remaining_usd: str
    remaining_nanousd: int
    note: str | None


class KeyDeleted(BaseModel):
    """The key is revoked."""

    id: str
    object: Literal["key.deleted"] = "key.deleted"
    deleted: Literal[True] = True
