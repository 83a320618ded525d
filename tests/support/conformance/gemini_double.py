"""A double of Google's Gemini API, by its public reference: `generateContent` and `streamGenerateContent`.

It refuses another path, no `x-goog-api-key`, fields of other makers' APIs, roles that it does not know.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.conformance import words
from tests.support.http_double import Exchange, HttpDouble

_PATH = re.compile(
    r"/v1beta/models/(?P<model>[^:/]+):(?P<method>generateContent|streamGenerateContent|batchEmbedContents)"
)
VECTOR = [0.5, -0.25, 0.125]
_FIELDS = {
    "contents",
    "system_instruction",
    "systemInstruction",
    "generationConfig",
    "safetySettings",
    "tools",
    "toolConfig",
    "cachedContent",
    "labels",
}
_ERRORS = {
    "busy": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "denied": (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    "unknown": (404, "NOT_FOUND", "models/gemini-unknown is not found for API version v1beta."),
    "long": (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "broken": (500, "INTERNAL", "An internal error has occurred."),
}


def gemini_double() -> HttpDouble:
    """The double; its base URL is `url` and `/v1beta`."""
    return HttpDouble(_play)


def _play(exchange: Exchange) -> None:
    found = _PATH.fullmatch(exchange.path)
    if mistake := _mistake(exchange, found):
        _refuse(exchange, 400, "INVALID_ARGUMENT", mistake)
        return
    assert found
    if found["method"] == "batchEmbedContents":
        exchange.answer(200, {"embeddings": [{"values": VECTOR} for _ in exchange.json["requests"]]})
        return
    scenario = words.scenario_of(found["model"])
    tools = bool(exchange.json.get("tools"))
    if scenario == "silent":
        exchange.until_gone()
    elif scenario in _ERRORS:
        _refuse(exchange, *_ERRORS[scenario])
    elif found["method"] == "streamGenerateContent":
        _stream(exchange, scenario, tools=tools)
    else:
        part = _tool_part() if tools else {"text": words.TEXT}
        exchange.answer(200, _response([part], "STOP", whole=True))


def _mistake(exchange: Exchange, found: re.Match[str] | None) -> str | None:  # noqa: PLR0911 - as many
    if exchange.method != "POST" or found is None:
        return f"no such route: {exchange.method} {exchange.path}"
    if found["method"] == "streamGenerateContent" and "alt=sse" not in exchange.query:
        return "this double streams events only"
    if exchange.headers.get("x-goog-api-key") != words.KEY or "authorization" in exchange.headers:
        return "API key not valid. Please pass a valid API key."
    if found["method"] == "batchEmbedContents":
        return None
    if extra := set(exchange.json) - _FIELDS:
        return f'Invalid JSON payload received. Unknown name "{min(extra)}": Cannot find field.'
    if {content.get("role") for content in exchange.json["contents"]} - {"user", "model"}:
        return "Please use a valid role: user, model."
    return None


def _refuse(exchange: Exchange, status: int, name: str, message: str) -> None:
    headers = {"retry-after": str(words.WAIT_S)} if status == 429 else {}
    exchange.answer(status, {"error": {"code": status, "message": message, "status": name}}, headers)


def _tool_part() -> dict[str, Any]:
    return {"functionCall": {"name": words.TOOL, "args": words.ARGUMENTS}}


def _response(parts: list[dict[str, Any]], reason: str | None, *, whole: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    # A part of the answer's tokens are thoughts, which the reference counts beside the candidates'.
    thoughts = 4 if whole else 0
    usage = {
        "promptTokenCount": words.PROMPT_TOKENS,
        "cachedContentTokenCount": words.CACHED_TOKENS,
        "candidatesTokenCount": words.COMPLETION_TOKENS - thoughts if whole else 1,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": words.PROMPT_TOKENS + (words.COMPLETION_TOKENS if whole else 1),
    }
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "gemini-double",
        "responseId": "resp_1",
    }


def _stream(exchange: Exchange, scenario: str, *, tools: bool) -> None:
    line = "\n" if scenario == "odd" else "\r\n"

    def event(document: dict[str, Any]) -> None:
        exchange.piece(f"data: {json.dumps(document)}{line}{line}".encode())

    exchange.start(200, {"content-type": "text/event-stream"})
    if tools:
        event(_response([_tool_part()], "STOP", whole=True))
        exchange.end()
        return
    for number, word in enumerate(words.WORDS):
        if number == 2 and _stops(exchange, scenario, event):
            return
        last = number == len(words.WORDS) - 1 and scenario != "odd"
        event(_response([{"text": word}], "STOP" if last else None, whole=last))
        if scenario == "odd":
            event({"usageMetadata": {"promptTokenCount": words.PROMPT_TOKENS}, "modelVersion": "x"})
    if scenario == "odd":  # the finish comes by itself, with an empty part
        event(_response([{"text": ""}], "STOP", whole=True))
    exchange.end()


def _stops(exchange: Exchange, scenario: str, event: Any) -> bool:
    """What happens after two words; True where nothing follows."""
    if scenario == "hangs":
        exchange.until_gone()
    elif scenario == "cut":
        exchange.drop()
    elif scenario == "short":
        exchange.end()
    elif scenario == "fails":
        event({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}})
        exchange.end()
    else:
        return False
    return True
