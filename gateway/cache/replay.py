"""A kept answer leaves again: as JSON or as a stream, whichever is asked for, whichever filled it.

What was a stream leaves as the same events. An answer that changes its form keeps what the official API has
in both: choices, content, refusals, calls of tools, log probabilities, finish reasons, usage, and whatever
other fields an upstream adds to a choice or to what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.cache.entry import Entry
from gateway.relay.chunk import is_usage_only, load_object
from gateway.relay.sse import SSEDecoder

_encode = msgspec.json.Encoder().encode
_SET = frozenset({"role", "id", "type", "index", "object"})
"""Fields of a delta that name something: pieces of all others are joined."""
_OF_CHUNKS = frozenset({"choices", "usage", "obfuscation"})
_FIRST = ("id", "object", "created", "model")


def as_json(entry: Entry) -> bytes:
    """The answer as one JSON body."""
    return entry.parts[0] if entry.kind == "json" else _encode(assembled(entry.parts))


def as_events(entry: Entry) -> list[bytes]:
    """The answer as events of a stream, the usage-only chunk among them where usage is known."""
    if entry.kind == "stream":
        return list(entry.parts)
    return [b"data: " + _encode(chunk) + b"\n\n" for chunk in _chunks_of(load_object(entry.parts[0]) or {})]


def split(data: bytes) -> list[bytes]:
    """Clean bytes of a stream, cut into its events."""
    if b"\r" not in data and data.endswith(b"\n\n"):
        return [event + b"\n\n" for event in data[:-2].split(b"\n\n")]
    return SSEDecoder().split(data)


def is_comment(event: bytes) -> bool:
    """Whether an event only keeps its connection alive."""
    return event.startswith(b":")


def is_usage_event(event: bytes) -> bool:
    """Whether an event is the usage-only chunk, which leaves for those alone who asked for it."""
    return b'"usage"' in event and b'"choices"' in event and is_usage_only(document_of(event))


def document_of(event: bytes) -> Mapping[str, Any]:
    """The JSON object that an event carries, {} where it has none."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2 and event.endswith(b"\n\n"):
        return load_object(event[6:]) or {}
    found = SSEDecoder().feed(event)
    return (load_object(found[0].text) or {}) if found else {}


# -- from a stream to JSON


def assembled(events: Iterable[bytes]) -> dict[str, Any]:
    """The JSON answer that a stream of chunks is."""
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    usage = None
    for event in events:
        document = document_of(event)
        for name, value in document.items():
            if name not in _OF_CHUNKS and (value is not None or name not in answer):
                if name in _FIRST:
                    answer.setdefault(name, value)
                else:
                    answer[name] = value
        usage = document.get("usage") or usage
        for choice in document.get("choices") or ():
            index = choice.get("index", 0)
            _add_choice(choices.setdefault(index, {"index": index}), choice)
    if answer.get("object") == "chat.completion.chunk":
        answer["object"] = "chat.completion"
    answer["choices"] = [_finished(choices[index]) for index in sorted(choices)]
    if usage is not None:
        answer["usage"] = usage
    return answer


def _add_choice(choice: dict[str, Any], piece: Mapping[str, Any]) -> None:
    for name, value in piece.items():
        if name == "delta":
            _join(choice.setdefault("message", {}), value or {})
        elif name == "logprobs":
            choice.setdefault(name, None)
            if value is not None:
                choice[name] = choice[name] or {}
                _join(choice[name], value)
        elif name == "text":
            choice[name] = choice.get(name, "") + (value or "")
        elif value is not None or name not in choice:
            choice[name] = value


def _join(whole: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Add a piece to what came before: texts and lists grow, numbered items of lists by their number."""
    for name, value in piece.items():
        before = whole.get(name)
        if before is None or value is None:
            if value is not None or name not in whole:
                whole[name] = _numbered(value) if _is_numbered(value) else value
        elif isinstance(before, dict) and _is_numbered(value):
            _join_items(before, value)
        elif _grows(name, before, value):
            whole[name] = before + value
        elif isinstance(before, dict) and isinstance(value, dict):
            _join(before, value)
        else:
            whole[name] = value


def _grows(name: str, before: object, value: object) -> bool:
    is_text = isinstance(before, str) and isinstance(value, str)
    return (is_text and name not in _SET) or (isinstance(before, list) and isinstance(value, list))


class _Numbered(dict[int, dict[str, Any]]):
    """Items of a list by their `index`, while pieces of them come in."""


def _is_numbered(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and isinstance(item.get("index"), int) for item in value)
    )


def _numbered(items: list[dict[str, Any]]) -> _Numbered:
    found = _Numbered()
    _join_items(found, items)
    return found


def _join_items(found: dict[Any, Any], items: list[dict[str, Any]]) -> None:
    for item in items:
        _join(found.setdefault(item["index"], {}), item)


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice as JSON answers have it: calls of tools in their order, without numbers."""
    message = choice.get("message")
    if message is not None:
        message.setdefault("role", "assistant")
        message.setdefault("content", None)
        if message["content"] == "" and (message.get("tool_calls") or message.get("refusal")):
            message["content"] = None
        for name, value in message.items():
            if isinstance(value, _Numbered):
                items = [value[number] for number in sorted(value)]
                message[name] = [{k: v for k, v in item.items() if k != "index"} for item in items]
    return choice


# -- from JSON to a stream


def _chunks_of(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    head = {name: value for name, value in document.items() if name not in _OF_CHUNKS}
    if head.get("object") == "chat.completion":
        head["object"] = "chat.completion.chunk"
    for choice in document.get("choices") or ():
        pieces = _said(choice) if "message" in choice else _written(choice)
        for piece in pieces:
            yield {**head, "choices": [{"index": choice.get("index", 0), **piece}]}
    usage = document.get("usage")
    if usage is not None:
        yield {**head, "choices": [], "usage": usage}


def _said(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Pieces of a chat choice: the role, what is said, each call of a tool, the end."""
    message = choice.get("message") or {}
    logprobs = choice.get("logprobs")
    yield _piece({"role": message.get("role", "assistant"), "content": "", "refusal": None})
    for name, value in message.items():
        if name == "role" or value in (None, "", []):
            continue
        if name == "tool_calls":
            for number, item in enumerate(value):
                yield _piece({name: [{"index": number, **item}]})
        else:
            yield _piece({name: value}, logprobs if name in ("content", "refusal") else None)
    rest = {k: v for k, v in choice.items() if k not in ("index", "message", "logprobs", "finish_reason")}
    yield {"delta": {}, "logprobs": None, "finish_reason": choice.get("finish_reason"), **rest}


def _piece(delta: dict[str, Any], logprobs: Any = None) -> dict[str, Any]:
    return {"delta": delta, "logprobs": logprobs, "finish_reason": None}


def _written(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Pieces of a completion: its text, the end."""
    rest = {k: v for k, v in choice.items() if k != "index"}
    yield {**rest, "finish_reason": None}
    yield {**rest, "text": "", "logprobs": None}
