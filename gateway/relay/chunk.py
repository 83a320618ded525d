"""The few facts the gateway needs of a chunk or a reply. Odd values are absent, never an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.domain.usage import Usage

_load = msgspec.json.Decoder().decode
MAX_COUNT = 10**12
"""A token count above this is no count."""


def load_object(text: bytes) -> dict[str, Any] | None:
    """The JSON object in `text`, or None where there is none."""
    try:
        value = _load(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


def usage_of(document: Mapping[str, Any]) -> Usage | None:
    """The `usage` of a chunk or reply, or None where it is absent, null or unreadable.

    Counts that are negative, not whole or absurd make the whole object unreadable: a guess would be billed.
    """
    return read_usage(document.get("usage"))


def read_usage(usage: object) -> Usage | None:
    """Likewise of the value itself."""
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage.get("prompt_tokens"))
    completion = _count(usage.get("completion_tokens", 0))
    if prompt is None or completion is None:
        return None
    of_prompt, of_completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = usage.get("prompt_cache_hit_tokens")
    if not (of_prompt or of_completion or cached):
        return Usage(prompt, completion)
    prompt_details, completion_details = _object(of_prompt), _object(of_completion)
    cached = prompt_details.get("cached_tokens", cached)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=_part(cached, prompt),
        cache_write_tokens=_part(prompt_details.get("cache_write_tokens"), prompt),
        reasoning_tokens=_part(completion_details.get("reasoning_tokens"), completion),
        audio_prompt_tokens=_part(prompt_details.get("audio_tokens"), prompt),
        audio_completion_tokens=_part(completion_details.get("audio_tokens"), completion),
    )


def _part(value: Any, whole: int) -> int:
    """A count that is part of `whole`; 0 where it is absent or unreadable."""
    return min(_count(value) or 0, whole) if value else 0


def tier_of(value: object) -> str | None:
    """A tier's name, or None: it goes into records and logs, so no other text may pass for one."""
    if not isinstance(value, str) or len(value) > 16 or not value.replace("_", "").isalpha():
        return None
    return value


def error_of(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The error a document carries, in the official shape, or None.

    Knows `{"error": {...}}`, `{"error": "text"}`, the flat `{"object": "error", ...}` and `{"detail": ...}`.
    """
    error = document.get("error")
    if isinstance(error, dict):
        return official_error(error)
    if isinstance(error, str) and error:
        return official_error({"message": error})
    if document.get("object") == "error" or document.get("type") == "error":
        return official_error(document)
    if "detail" in document and "choices" not in document:
        detail = document["detail"]
        return official_error({"message": detail if isinstance(detail, str) else str(detail)})
    return None


def official_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """All four keys of the official shape: `code` a string, an empty `param` as null."""
    code = error.get("code")
    message = error.get("message")
    kind = error.get("type")
    param = error.get("param")
    return {
        "message": message if isinstance(message, str) else "The upstream reported an error.",
        "type": kind if isinstance(kind, str) and kind else "invalid_request_error",
        "param": param if isinstance(param, str) and param else None,
        "code": None if code is None or isinstance(code, bool) else str(code),
    }


def finished_choices(document: Mapping[str, Any]) -> set[int]:
    """Indexes of the choices that this chunk ends. An empty finish reason is none."""
    finished: set[int] = set()
    for choice in _choices(document):
        reason = choice.get("finish_reason")
        if reason and isinstance(reason, str):
            index = choice.get("index")
            finished.add(index if isinstance(index, int) else 0)
    return finished


def has_content(document: Mapping[str, Any]) -> bool:
    """True where a chunk commits a stream: content, a tool call, a refusal, reasoning, a finish."""
    for choice in _choices(document):
        if choice.get("finish_reason") or choice.get("text"):
            return True
        delta = choice.get("delta")
        if isinstance(delta, dict):
            for key, value in delta.items():
                if value and key != "role":
                    return True
    return False


def text_of(document: Mapping[str, Any]) -> str:
    """All text a model wrote in a chunk or a reply: content, reasoning, refusals, its calls of tools."""
    parts: list[str] = []
    for choice in _choices(document):
        said = choice.get("delta") or choice.get("message")
        for holder in (choice, said if isinstance(said, dict) else {}):
            parts += [value for name in _TEXTS if isinstance(value := holder.get(name), str)]
            calls = holder.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                function = _object(_object(call).get("function"))
                parts += [v for name in ("name", "arguments") if isinstance(v := function.get(name), str)]
    return "".join(parts)


_TEXTS = ("text", "content", "refusal", "reasoning_content", "reasoning")


def is_usage_only(document: Mapping[str, Any]) -> bool:
    """True for the chunk that only exists because usage was asked for: no choices, and a usage object."""
    return document.get("choices") == [] and isinstance(document.get("usage"), dict)


def _choices(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = document.get("choices")
    if not isinstance(choices, list):
        return []
    if len(choices) == 1 and isinstance(choices[0], dict):  # nearly always
        return choices
    return [choice for choice in choices if isinstance(choice, dict)]


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= MAX_COUNT else None
