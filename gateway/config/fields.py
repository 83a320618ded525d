"""The types of single values in the file: strict where YAML is lax, silent about what they were given.

A validator here never quotes the value it refuses: `validation.py` adds it where it is no secret.
Numbers and flags are strict (no "8080", no `yes`), except that text which came out of a `${VAR}` is
read as the type the field wants, since the environment holds nothing but text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    SecretStr,
)
from pydantic_core import PydanticKnownError

from gateway.config.scalars import Substituted, resolve


class Model(BaseModel):
    """A block of the file: frozen, and unknown fields are errors."""

    # Input is hidden because pydantic's own messages would quote secrets into logs.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _read_as(*types: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, Substituted):
            value = resolve(value)
        if int in types and isinstance(value, float) and value.is_integer():
            return int(value)  # 1e6, as JSON writers like it
        return value

    return read


def _read_exactly(value: Any) -> Any:
    if isinstance(value, Substituted):
        value = resolve(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(repr(value))  # the shortest text that reads as this number: what was written
    if isinstance(value, Decimal):
        return value
    raise PydanticKnownError("float_type")


def _is_date(value: Any) -> Any:
    if isinstance(value, date) and not hasattr(value, "hour"):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        return date.fromisoformat(value)
    raise ValueError("write a day as YYYY-MM-DD")


def _thaw(value: Any) -> Any:
    """Free JSON: text out of the environment is a number or flag where the file has it unquoted."""
    if isinstance(value, Substituted):
        return resolve(value) if value.plain else str(value)
    if isinstance(value, Mapping):
        return {key: _thaw(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_thaw(each) for each in value]
    return value


def _is_alias_name(value: str) -> str:
    if not 1 <= len(value) <= 128:
        raise ValueError("an alias name has 1 to 128 characters")
    if not value.isprintable() or any(letter.isspace() or letter == "," for letter in value):
        raise ValueError("an alias name has no spaces, commas or control characters")
    return value


def _is_simple_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError("a name has 1 to 64 letters, digits, dots, dashes and underscores")
    return value


def _is_model_id(value: str) -> str:
    if not value or not value.isprintable() or value != value.strip():
        raise ValueError("a model id is printable text without spaces around it")
    return value


def _is_header_name(value: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", value):
        raise ValueError("not a header name")
    if value.lower() in RESERVED_HEADERS:
        raise ValueError("the gateway itself sets this header" + RESERVED_HEADERS[value.lower()])
    return value


def _is_header_text(value: str) -> str:
    """Text that may stand in a header. Raises ValueError, which does not quote it."""
    if not re.fullmatch(r"[\x20-\x7e]*", value) or value != value.strip():
        raise ValueError("only printable ASCII without line ends and without spaces around it")
    return value


def _is_secret_header_text(value: SecretStr) -> SecretStr:
    _is_header_text(value.get_secret_value())
    return value


def _is_api_key(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]*", value.get_secret_value()):
        raise ValueError("a key is printable ASCII without spaces or line ends")
    return value


def _leave_the_calls_own(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if found := [name for name in PROTECTED_FIELDS if name in fields]:
        raise ValueError(f"leave out {' and '.join(found)}: the call itself decides")
    return fields


def _is_not_the_calls_own(name: str) -> str:
    _leave_the_calls_own({name: None})
    return name


PROTECTED_FIELDS = ("messages", "model", "stream")
"""Body fields that belong to the caller or to routing; no default, rewrite or adapter touches them."""

RESERVED_HEADERS: dict[str, str] = {
    "authorization": ": give the credential in api_keys",
    "proxy-authorization": "",
    "proxy-authenticate": "",
    "proxy-connection": "",
    "connection": "",
    "keep-alive": "",
    "te": "",
    "trailer": "",
    "transfer-encoding": "",
    "upgrade": "",
    "content-length": "",
    "host": "",
    "expect": "",
    "accept-encoding": ": it reads answers uncompressed",
}
"""Names that `headers` may not hold, in lower case, and what to do instead."""

Whole = Annotated[int, Field(strict=True), BeforeValidator(_read_as(int))]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_read_as(float))]
Exact = Annotated[
    Decimal,
    Field(allow_inf_nan=False),
    BeforeValidator(_read_exactly, json_schema_input_type=float),
    PlainSerializer(float),
]
"""A number kept as it is written in decimal, for money: 0.1 is a tenth."""
Flag = Annotated[bool, Field(strict=True), BeforeValidator(_read_as(bool))]
Count = Annotated[Whole, Field(ge=1)]
Amount = Annotated[Whole, Field(ge=0)]
Port = Annotated[Whole, Field(ge=0, le=65535)]
Seconds = Annotated[Number, Field(gt=0)]
Grace = Annotated[Number, Field(ge=0)]
Day = Annotated[date, BeforeValidator(_is_date, json_schema_input_type=date)]
AliasName = Annotated[str, AfterValidator(_is_alias_name)]
SimpleName = Annotated[str, AfterValidator(_is_simple_name)]
ModelName = Annotated[str, AfterValidator(_is_model_id)]
HeaderName = Annotated[str, AfterValidator(_is_header_name)]
HeaderText = Annotated[str, AfterValidator(_is_header_text)]
SecretHeaderText = Annotated[SecretStr, AfterValidator(_is_secret_header_text)]
ApiKey = Annotated[SecretStr, AfterValidator(_is_api_key)]
BodyField = Annotated[str, Field(min_length=1), AfterValidator(_is_not_the_calls_own)]
BodyFields = Annotated[Mapping[str, JsonValue], BeforeValidator(_thaw), AfterValidator(_leave_the_calls_own)]
