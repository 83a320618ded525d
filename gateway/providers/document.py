"""litellm's documents as those of the official API: nulls where they belong, usage in the official places."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

_KEPT = ("choices", "data")
_CREATED_HERE = ("cache_creation_tokens", "cache_creation_input_tokens")


def reply(document: Mapping[str, Any]) -> dict[str, Any]:
    """A whole reply; `content` and `finish_reason` are there even where they are null."""
    tidy = _without_extras(_without_nulls(document))
    for choice in tidy.get("choices", ()):
        choice.setdefault("finish_reason", None)
        if isinstance(message := choice.get("message"), dict):
            choice["message"] = message = _without_extras(message)
            message.setdefault("content", None)
            message.setdefault("refusal", None)
    return _with_usage(tidy)


def embeddings(document: Mapping[str, Any], *, as_base64: bool) -> dict[str, Any]:
    """A reply with vectors, as lists of numbers or as the base64 of little-endian 32-bit ones."""
    made = reply(document)
    for entry in made.get("data", ()) if as_base64 else ():
        numbers = entry.get("embedding")
        if isinstance(numbers, list):
            packed = struct.pack(f"<{len(numbers)}f", *numbers)
            entry["embedding"] = base64.b64encode(packed).decode("ascii")
    return made


def chunk(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """A chunk of a stream, or None where it says nothing.

    The chunk that tells the usage has no choices, as in the official stream.
    """
    tidy = _without_extras(_without_nulls(document))
    if isinstance(tidy.get("usage"), dict):
        return _with_usage({**tidy, "choices": []})
    choices = tidy.get("choices", [])
    for choice in choices:
        choice.setdefault("finish_reason", None)
        if tidy.get("object") == "text_completion":
            choice.setdefault("text", "")
        else:
            choice["delta"] = _without_extras(choice.get("delta", {}))
    if not any(choice["finish_reason"] or choice.get("text") or choice.get("delta") for choice in choices):
        return None
    return tidy


def finishes(document: Mapping[str, Any]) -> bool:
    """True where a chunk gives a finish reason."""
    return any(choice.get("finish_reason") for choice in document.get("choices", ()))


def usage(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Token counts with what went into the provider's cache where the gateway looks for it."""
    tidy = {name: value for name, value in counts.items() if name not in _CREATED_HERE}
    details = dict(tidy.get("prompt_tokens_details") or {})
    written = [details.pop(name, None) or counts.get(name) for name in _CREATED_HERE]
    tidy.pop("cache_read_input_tokens", None)
    details.setdefault("cached_tokens", counts.get("cache_read_input_tokens") or 0)
    details["cache_write_tokens"] = next((count for count in written if count), 0)
    tidy["prompt_tokens_details"] = details
    tidy.setdefault("completion_tokens_details", {"reasoning_tokens": 0})
    return tidy


def _with_usage(document: dict[str, Any]) -> dict[str, Any]:
    if isinstance(counts := document.get("usage"), dict):
        document["usage"] = usage(counts)
    return document


def _without_extras(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without the empty lists and objects that litellm adds for what the official API does not have."""
    return {name: value for name, value in document.items() if name in _KEPT or value not in ([], {})}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(each) for each in value]
    return value
