"""Bodies of calls with damage in them."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.chaos.mutate_kit.damage import damaged_bytes, damaged_json

MODEL = "plain"
_CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "h\u00e4llo"}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "4"},
    ],
    "max_tokens": 5,
    "max_completion_tokens": 7,
    "n": 1,
    "stop": ["\n"],
    "temperature": 0.5,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "response_format": {"type": "json_object"},
    "metadata": {"a": "b"},
    "user": "u",
    "service_tier": "auto",
}
_SOUND: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", _CHAT | {"stream": False}),
    ("/v1/chat/completions", _CHAT | {"stream": True}),
    (
        "/v1/completions",
        {"model": MODEL, "prompt": ["a", "b"], "max_tokens": 5, "stream": True, "best_of": 1, "n": 1},
    ),
    ("/v1/embeddings", {"model": MODEL, "input": ["a", "b"], "dimensions": 8, "encoding_format": "float"}),
)


def damaged_body(seed: int, number: int) -> tuple[str, bytes]:
    """The route and the body of a call; always the same for a seed and a number."""
    draw = Random(f"body {seed} {number}")  # noqa: S311  # no secret: a run can be repeated
    path, document = draw.choice(_SOUND)
    kind = draw.random()
    if kind < 0.8:
        document = damaged_json(document, draw)
    body = json.dumps(document, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    return path, damaged_bytes(body, draw) if kind > 0.6 else body
