"""Bodies for an endpoint that does not take all that the official API takes.

`compile_quirks` turns the configuration into one function, or None for an endpoint without quirks: its calls
pay nothing. Values that no quirk is about stay bytes, and a body of an odd shape stays as it is: its upstream
says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import DecodeError, Raw
from msgspec.json import Decoder, Encoder

from gateway.config.quirks import QuirkSettings
from gateway.domain.call import CHAT, CallRoute

Fields = dict[str, Raw]
Adapt = Callable[[Fields, CallRoute], None]
"""Changes the fields of a body in place."""

_encode = Encoder().encode
_decode = Decoder().decode
_objects = Decoder(list[Fields]).decode
_object = Decoder(Fields).decode
_NULL, _EMPTY, _SYSTEM, _USER = Raw(b"null"), Raw(b'""'), Raw(b'"system"'), Raw(b'"user"')
_BETWEEN = "\n\n"  # texts of different messages, as templates of models part them


def compile_quirks(quirks: QuirkSettings) -> Adapt | None:
    """What to do with the body of a call for an endpoint; None where nothing is."""
    in_body = _body_steps(quirks)
    in_messages = _message_steps(quirks)
    if not quirks.refuses and not in_body and not in_messages:
        return None

    def adapt(fields: Fields, route: CallRoute) -> None:
        for name in quirks.refuses:
            fields.pop(name, None)
        if route is not CHAT:
            return
        for step in in_body:
            step(fields)
        if in_messages and "messages" in fields:
            fields["messages"] = _changed(fields["messages"], in_messages)

    return adapt


def _body_steps(quirks: QuirkSettings) -> list[Callable[[Fields], None]]:
    steps: list[Callable[[Fields], None]] = []
    if quirks.max_tokens is not None:
        taken = quirks.max_tokens
        other = "max_tokens" if taken == "max_completion_tokens" else "max_completion_tokens"
        steps.append(lambda fields: _rename_cap(fields, other, taken))
    if not quirks.n:
        steps.append(_drop_single_n)
    if (lowest := quirks.min_temperature) is not None:
        steps.append(lambda fields: _bound(fields, "temperature", lambda value: max(value, lowest)))
    if (highest := quirks.max_top_p) is not None:
        steps.append(lambda fields: _bound(fields, "top_p", lambda value: min(value, highest)))
    if not quirks.strict_tools:
        steps.append(_drop_strict)
    return steps


def _rename_cap(fields: Fields, other: str, taken: str) -> None:
    """The value under the name that is taken stays: with two of them, no bound is above the larger."""
    value = fields.pop(other, _NULL)
    if bytes(fields.get(taken, _NULL)) == b"null":
        if bytes(value) == b"null":
            fields.pop(taken, None)
        else:
            fields[taken] = value


def _drop_single_n(fields: Fields) -> None:
    if bytes(fields.get("n", _NULL)).strip() in (b"1", b"null"):
        fields.pop("n", None)


def _bound(fields: Fields, name: str, bounded: Callable[[float], float]) -> None:
    value = _decode(fields[name]) if name in fields else None
    if isinstance(value, int | float) and not isinstance(value, bool) and bounded(value) != value:
        fields[name] = Raw(_encode(bounded(value)))


def _drop_strict(fields: Fields) -> None:
    try:
        tools = _objects(fields.get("tools", _NULL))
        for tool in tools:
            function = _object(tool["function"])
            function.pop("strict", None)
            tool["function"] = Raw(_encode(function))
    except (DecodeError, KeyError):
        return
    fields["tools"] = Raw(_encode(tools))


Messages = list[Fields]


def _message_steps(quirks: QuirkSettings) -> list[Callable[[Messages], Messages]]:
    each: list[Callable[[Fields, Any], None]] = []
    if not quirks.developer_role:
        each.append(_developer_as_system)
    if not quirks.reasoning_content:
        each.append(_drop_reasoning)
    if not quirks.message_names:
        each.append(_drop_name)
    if not quirks.content_parts:
        each.append(_join_parts)
    if not quirks.null_content:
        each.append(_fill_content)
    steps: list[Callable[[Messages], Messages]] = []
    if each:
        steps.append(lambda messages: _each(messages, each))
    if quirks.system_messages == "first":
        steps.append(_one_system_message)
    elif quirks.system_messages == "none":
        steps.append(_no_system_message)
    return steps


def _changed(raw: Raw, steps: list[Callable[[Messages], Messages]]) -> Raw:
    try:
        messages = _objects(raw)
        for step in steps:
            messages = step(messages)
    except DecodeError:
        return raw
    return Raw(_encode(messages))


def _each(messages: Messages, steps: list[Callable[[Fields, Any], None]]) -> Messages:
    for message in messages:
        role = _role(message)
        for step in steps:
            step(message, role)
    return messages


def _role(message: Fields) -> Any:
    return _decode(message.get("role", _NULL))


def _developer_as_system(message: Fields, role: Any) -> None:
    if role == "developer":
        message["role"] = _SYSTEM


def _drop_reasoning(message: Fields, role: Any) -> None:
    if role == "assistant":
        message.pop("reasoning_content", None)
        message.pop("reasoning", None)


def _drop_name(message: Fields, role: Any) -> None:
    if role != "function":  # there it is no ornament: it says which function
        message.pop("name", None)


def _join_parts(message: Fields, _: Any) -> None:
    text = _text(message)
    if text is not None:
        message["content"] = Raw(_encode(text))


def _fill_content(message: Fields, role: Any) -> None:
    if role == "assistant" and bytes(message.get("content", _NULL)) == b"null":
        message["content"] = _EMPTY


def _one_system_message(messages: Messages) -> Messages:
    text, rest = _without_system(messages)
    if text is None:
        return messages
    return [{"role": _SYSTEM, "content": Raw(_encode(text))}, *rest]


def _no_system_message(messages: Messages) -> Messages:
    text, rest = _without_system(messages)
    if text is None:
        return messages
    first = next((message for message in rest if _role(message) == "user"), {})
    said, content = _text(first), _decode(first.get("content", _NULL))
    if said is not None:
        first["content"] = Raw(_encode(text + _BETWEEN + said))
    elif isinstance(content, list):  # with an image, say
        first["content"] = Raw(_encode([{"type": "text", "text": text}, *content]))
    else:
        return [{"role": _USER, "content": Raw(_encode(text))}, *rest]
    return rest


def _without_system(messages: Messages) -> tuple[str | None, Messages]:
    """The text of all system messages, and the others; None where there is none to be moved."""
    texts: list[str] = []
    rest: Messages = []
    for message in messages:
        text = _text(message) if _role(message) == "system" else None
        if text is None:
            rest.append(message)
        else:
            texts.append(text)
    return (_BETWEEN.join(texts) if texts else None), rest


def _text(message: Fields) -> str | None:
    """A message's content, where it is text alone."""
    content = _decode(message.get("content", _NULL))
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        return None
    texts = [
        part["text"]
        for part in content
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    ]
    return "\n".join(texts) if len(texts) == len(content) else None
