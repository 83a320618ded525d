"""A double of Anthropic's Messages API, by its public reference: `POST /v1/messages`, JSON and events.

It refuses what the real one refuses: another path, no `x-api-key`, no `anthropic-version`, no `max_tokens`,
fields of the official API of another maker, an empty list of messages, a system message among them.
"""

from __future__ import annotations

import json
from typing import Any

from tests.support.conformance import words
from tests.support.http_double import Exchange, HttpDouble

_FIELDS = {
    "model",
    "messages",
    "max_tokens",
    "metadata",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "service_tier",
}
_USAGE = {
    "input_tokens": words.PROMPT_TOKENS - words.CACHED_TOKENS - words.CACHE_WRITE_TOKENS,
    "cache_read_input_tokens": words.CACHED_TOKENS,
    "cache_creation_input_tokens": words.CACHE_WRITE_TOKENS,
}
_ERRORS = {
    "busy": (429, "rate_limit_error", "This request would exceed your rate limit."),
    "denied": (401, "authentication_error", "invalid x-api-key"),
    "unknown": (404, "not_found_error", "model: claude-unknown"),
    "long": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
    "broken": (500, "api_error", "Internal server error"),
}


def anthropic_double() -> HttpDouble:
    """The double; its base URL is `url`."""
    return HttpDouble(_play)


def _play(exchange: Exchange) -> None:
    if mistake := _mistake(exchange):
        _refuse(exchange, 400, "invalid_request_error", mistake)
        return
    body = exchange.json
    scenario = words.scenario_of(body["model"])
    if scenario == "silent":
        exchange.until_gone()
    elif scenario in _ERRORS:
        status, kind, message = _ERRORS[scenario]
        _refuse(exchange, status, kind, message)
    elif body.get("stream"):
        _stream(exchange, scenario, tools=bool(body.get("tools")))
    else:
        block = _tool_block() if body.get("tools") else {"type": "text", "text": words.TEXT}
        message = _message(body["model"], [block], "tool_use" if body.get("tools") else "end_turn")
        exchange.answer(200, message, {"request-id": "req_anthropic"})


def _mistake(exchange: Exchange) -> str | None:  # noqa: PLR0911 - one each for what it refuses
    if (exchange.method, exchange.path) != ("POST", "/v1/messages"):
        return f"no such route: {exchange.method} {exchange.path}"
    body, headers = exchange.json, exchange.headers
    if headers.get("x-api-key") != words.KEY or "authorization" in headers:
        return "x-api-key: missing or wrong"
    if not headers.get("anthropic-version"):
        return "anthropic-version: header is required"
    if not isinstance(body.get("max_tokens"), int):
        return "max_tokens: Field required"
    if extra := set(body) - _FIELDS:
        return f"{min(extra)}: Extra inputs are not permitted"
    roles = [message["role"] for message in body["messages"]]
    if not roles or not set(roles) <= {"user", "assistant"}:
        return "messages: Unexpected role"
    return None


def _refuse(exchange: Exchange, status: int, kind: str, message: str) -> None:
    headers = {"request-id": "req_anthropic"}
    if status == 429:
        headers["retry-after"] = str(words.WAIT_S)
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_anthropic"}
    exchange.answer(status, error, headers)


def _tool_block() -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": words.TOOL, "input": words.ARGUMENTS}


def _message(model: str, content: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {**_USAGE, "output_tokens": words.COMPLETION_TOKENS if reason else 1},
    }


def _stream(exchange: Exchange, scenario: str, *, tools: bool) -> None:
    def event(kind: str, **fields: Any) -> None:
        data = json.dumps({"type": kind, **fields})
        text = f"event: {kind}\ndata: {data}\n\n"
        exchange.piece((text.replace("\n", "\r\n") if scenario == "odd" else text).encode())

    exchange.start(200, {"content-type": "text/event-stream; charset=utf-8", "request-id": "req_anthropic"})
    event("message_start", message=_message(exchange.json["model"], [], None))
    if tools:
        _tool_events(event)
        reason = "tool_use"
    else:
        event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        event("ping")
        for number, word in enumerate(words.WORDS):
            if number == 2 and _stops(exchange, scenario, event):
                return
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            if scenario == "odd":
                event("ping")
                event("an_event_of_tomorrow", more=1)
        event("content_block_stop", index=0)
        reason = "end_turn"
    delta = {"stop_reason": reason, "stop_sequence": None}
    event("message_delta", delta=delta, usage={"output_tokens": words.COMPLETION_TOKENS})
    event("message_stop")
    exchange.end()


def _tool_events(event: Any) -> None:
    event("content_block_start", index=0, content_block={**_tool_block(), "input": {}})
    text = json.dumps(words.ARGUMENTS)
    for part in ("", text[:5], text[5:]):
        event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": part})
    event("content_block_stop", index=0)


def _stops(exchange: Exchange, scenario: str, event: Any) -> bool:
    """What happens after two words; True where nothing follows."""
    if scenario == "hangs":
        exchange.until_gone()
    elif scenario == "cut":
        exchange.drop()
    elif scenario == "short":
        exchange.end()
    elif scenario == "fails":
        event("error", error={"type": "overloaded_error", "message": "Overloaded"})
        exchange.end()
    else:
        return False
    return True
