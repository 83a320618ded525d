"""One spelling for all bodies that ask the same.

Order of keys, white space, the spelling of numbers and escapes in strings tell bodies apart, not questions:
they are levelled. Everything else stays as it is: texts are compared by code point, never normalised, as a
model sees composed and decomposed letters as different text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Context, Decimal, DecimalException, Inexact
from typing import Any

import msgspec

IGNORED: Mapping[str, str] = {
    "model": "stands in the cache key as the model that it means",
    "user": "names an end user to the provider",
    "safety_identifier": "names an end user to the provider",
    "metadata": "labels a call for later",
    "stream": "an answer leaves either way, whichever way it came",
    "stream_options": "the same; usage is sent to those who ask for it",
    "store": "only calls that are not to be stored are cached",
    "prompt_cache_key": "steers the provider's own cache of prompts",
    "prompt_cache_retention": "steers the provider's own cache of prompts",
}
"""Top-level fields that do not tell bodies apart, each with the reason. All others do, known or not."""

_MOST_DIGITS = 4000
_exact = Context(prec=_MOST_DIGITS, traps=[Inexact, *Context().traps])
_encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


class NotCanonical(Exception):
    """A body that two readers could read differently, or whose numbers no reader keeps."""


def canonical(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """The canonical form of a body's top-level fields, as JSON.

    Raises:
        NotCanonical: an object with the same key twice, a lone surrogate, a number of absurd length.
    """
    try:
        read = {name: _load(str(raw, "utf-8")) for name, raw in fields.items() if name not in IGNORED}
        return _encode(read)
    except (ValueError, DecimalException, RecursionError, OverflowError) as error:
        raise NotCanonical(str(error)) from error


def _load(text: str) -> Any:
    return json.loads(text, parse_float=_number, object_pairs_hook=_object)


def _number(text: str) -> int | Decimal:
    """A number by its value: `1.0`, `1e0` and `1` are one."""
    value = _exact.create_decimal(text)
    if not value:
        return 0
    if value.adjusted() >= _MOST_DIGITS:
        raise NotCanonical("a number of too many digits")
    value = value.normalize(_exact)
    return int(value) if value == value.to_integral_value() else value


def _object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        raise NotCanonical("an object has the same key twice")
    return found
