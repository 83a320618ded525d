"""`POST /v1/chat/completions`, read: a checked request, or the official refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.demo.errors import ApiError
from gateway.demo.fields import Fields, missing, wrong_type, wrong_value
from gateway.demo.models import DemoModel, find_model

MOST_CHOICES = 128
MOST_TOKENS = 1 << 20
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_VERBS = frozenset({"get", "set", "find", "fetch", "list", "create", "update", "delete", "call", "current"})
_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request. `calls` are the functions to answer with; empty means text."""

    model: DemoModel
    messages: tuple[Mapping[str, Any], ...]
    choices: int
    token_limit: int | None
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    top_logprobs: int | None
    """None: no logprobs at all."""
    calls: tuple[Mapping[str, Any], ...]
    call_is_named: bool
    json_schema: Any
    """None: plain text. A schema, `{"type": "object"}` for `json_object`."""

    @property
    def question(self) -> str:
        """The text of the last user message; empty where there is none."""
        return next((text_of(m) for m in reversed(self.messages) if m["role"] == "user"), "")


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, its parts joined."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if isinstance(part.get("text"), str))


def model_of(fields: Fields, kind: str, refusal: str) -> DemoModel:
    """The model a body names. Raises 400, 404, or 404 with `refusal` for a model of another kind."""
    name = fields["model"]
    if name is None:
        raise ApiError(400, "you must provide a model parameter")
    if not isinstance(name, str):
        raise wrong_type("model", "a string", name)
    model = find_model(name)
    if model.kind != kind:
        raise ApiError(404, refusal, param="model")
    return model


def streaming_of(fields: Fields) -> tuple[bool, bool]:
    """Whether to stream, and whether with a usage chunk."""
    stream = fields.flag("stream")
    options = fields.mapping("stream_options")
    if options is not None and not stream:
        raise ApiError(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    return stream, Fields(options or {}).flag("include_usage")


def parse_chat(body: Mapping[str, Any]) -> ChatRequest:
    """Check a body and read what the demo obeys. Raises `ApiError`; fields it does not know pass."""
    fields = Fields(body)
    refusal = (
        "This is not a chat model and thus not supported in the v1/chat/completions endpoint. "
        "Did you mean to use v1/embeddings?"
    )
    model = model_of(fields, "chat", refusal)
    messages = _messages(fields.required("messages"))
    stream, include_usage = streaming_of(fields)
    for name, low, high in (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("frequency_penalty", -2, 2),
        ("presence_penalty", -2, 2),
    ):
        fields.number(name, low, high)
    limits = [
        limit
        for name in ("max_tokens", "max_completion_tokens")
        if (limit := fields.integer(name, 1, MOST_TOKENS)) is not None
    ]
    calls, call_is_named = _calls(fields, messages)
    return ChatRequest(
        model=model,
        messages=messages,
        choices=fields.integer("n", 1, MOST_CHOICES) or 1,
        token_limit=min(limits, default=None),
        stop=tuple(text for text in fields.texts("stop", 4) if text),
        stream=stream,
        include_usage=include_usage,
        top_logprobs=_top_logprobs(fields),
        calls=calls,
        call_is_named=call_is_named,
        json_schema=_json_schema(fields),
    )


def _messages(value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list):
        raise wrong_type("messages", "an array of objects", value)
    if not value:
        raise ApiError(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            param="messages",
            code="empty_array",
        )
    for index, message in enumerate(value):
        _check_message(f"messages[{index}]", message)
    return tuple(value)


def _check_message(where: str, message: Any) -> None:
    if not isinstance(message, dict):
        raise wrong_type(where, "an object", message)
    role = message.get("role")
    if role is None:
        raise missing(f"{where}.role")
    if role not in _ROLES:
        raise wrong_value(f"{where}.role", role, _ROLES)
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise missing(f"{where}.tool_call_id")
    _check_calls(f"{where}.tool_calls", message.get("tool_calls"))
    if message.get("content") is not None:
        _check_content(f"{where}.content", message["content"])
    elif role != "assistant":
        raise missing(f"{where}.content")


def _check_content(where: str, content: Any) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise wrong_type(where, "one of a string or array of objects", content)
    for number, part in enumerate(content):
        if not isinstance(part, dict):
            raise wrong_type(f"{where}[{number}]", "an object", part)


def _check_calls(where: str, calls: Any) -> None:
    if calls is None:
        return
    if not isinstance(calls, list):
        raise wrong_type(where, "an array of objects", calls)
    for index, call in enumerate(calls):
        if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
            raise missing(f"{where}[{index}].function")


def _top_logprobs(fields: Fields) -> int | None:
    top = fields.integer("top_logprobs", 0, 20)
    if fields.flag("logprobs"):
        return top or 0
    if top is not None:
        raise ApiError(
            400,
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
            param="top_logprobs",
        )
    return None


def _json_schema(fields: Fields) -> Any:
    wanted = fields.mapping("response_format")
    if wanted is None:
        return None
    match wanted.get("type"):
        case "text":
            return None
        case "json_object":
            return {"type": "object"}
        case "json_schema":
            described = wanted.get("json_schema")
            if not isinstance(described, dict):
                raise missing("response_format.json_schema")
            return described.get("schema") or {"type": "object"}
        case other:
            raise wrong_value("response_format.type", other, ("json_object", "json_schema", "text"))


def _calls(
    fields: Fields, messages: tuple[Mapping[str, Any], ...]
) -> tuple[tuple[Mapping[str, Any], ...], bool]:
    """The functions to call now, and whether the caller named the one."""
    choice = fields["tool_choice"]
    functions = _functions(fields["tools"])
    if not functions:
        if choice is not None:
            raise ApiError(
                400, "'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice"
            )
        return (), False
    one_only = not fields.flag("parallel_tool_calls", default=True)
    last = messages[-1]
    asked = _asked_for(functions, text_of(last)) if last["role"] == "user" else ()
    if one_only:
        asked = asked[:1]
    if isinstance(choice, dict):
        named = choice.get("function")
        name = named.get("name") if isinstance(named, dict) else None
        if not isinstance(name, str) or name not in functions:
            raise ApiError(
                400,
                f"Tool choice '{name}' not found in 'tools' parameter.",
                param="tool_choice",
                code="invalid_value",
            )
        return (functions[name],), True
    match choice or "auto":
        case "none":
            return (), False
        case "auto":
            return asked, False
        case "required":
            return asked or (next(iter(functions.values())),), False
        case other:
            raise wrong_value("tool_choice", other, ("none", "auto", "required"))


def _functions(tools: Any) -> dict[str, Mapping[str, Any]]:
    if tools is None:
        return {}
    if not isinstance(tools, list):
        raise wrong_type("tools", "an array of objects", tools)
    found: dict[str, Mapping[str, Any]] = {}
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise wrong_type(f"tools[{index}]", "an object", tool)
        if tool.get("type") != "function":
            raise wrong_value(f"tools[{index}].type", tool.get("type"), ("function",))
        function = tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise missing(f"tools[{index}].function.name")
        found[function["name"]] = function
    return found


def _asked_for(functions: Mapping[str, Mapping[str, Any]], text: str) -> tuple[Mapping[str, Any], ...]:
    """The functions whose name shares a telling word with the text: "weather" asks for `get_weather`."""
    said = {word.rstrip("s") for word in _WORD.findall(text.lower())}
    return tuple(
        function
        for name, function in functions.items()
        if said
        & {word.rstrip("s") for word in _WORD.findall(_CAMEL.sub("_", name).lower().replace("_", " "))}
        - _VERBS
    )
