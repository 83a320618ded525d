"""What is asked of an endpoint. Each question is a call that the official API takes, odd in one way.

Where it is refused and the same call without its oddity is taken, the endpoint has the quirk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CAPS = ("max_tokens", "max_completion_tokens")
CAP_TOKENS = 48
"""Of every answer. Enough for a word, too few to count to a hundred."""

_ASK: dict[str, Any] = {"role": "user", "content": "Answer with one word: yes."}
_SYSTEM: dict[str, Any] = {"role": "system", "content": "Be brief."}
_SAID: dict[str, Any] = {"role": "assistant", "content": "Yes."}
_CALL: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
}
_RESULT: dict[str, Any] = {"role": "tool", "tool_call_id": "call_1", "content": "noon"}
_FUNCTION: dict[str, Any] = {
    "name": "now",
    "description": "The time of day.",
    "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
}
_TOOLS: list[dict[str, Any]] = [{"type": "function", "function": _FUNCTION}]
_PLAIN: dict[str, Any] = {"messages": [_ASK]}

LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Count from 1 to 100 in digits, one number a line."}]
}
"""A call whose answer is longer than the cap, so that it shows whether the cap holds."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Args:
        setting: of an upstream, such as "quirks.n"; "quirks.refuses" gathers names of fields.
        value: what to set where the endpoint refuses it.
        asks: the body's fields, but for the model and the cap.
        without: the same call without its oddity.
        says: what a refusal means.
        milder: oddities to try where this one is refused: the value that the first one taken stands for.
        worst: setting, value and meaning where none of them is taken.
    """

    setting: str
    value: Any
    asks: Mapping[str, Any]
    says: str
    without: Mapping[str, Any] = field(default_factory=lambda: _PLAIN)
    milder: tuple[tuple[Any, Mapping[str, Any]], ...] = ()
    worst: tuple[str, Any, str] | None = None


def _field(name: str, value: Any, **more: Any) -> Question:
    asks = {**_PLAIN, **more}
    return Question("quirks.refuses", name, {**asks, name: value}, f"it refuses {name}", without=asks)


PLAIN = _PLAIN
QUESTIONS: tuple[Question, ...] = (
    Question("quirks.n", False, {**_PLAIN, "n": 1}, "it refuses n, even 1"),
    Question(
        "quirks.min_temperature",
        None,
        {**_PLAIN, "temperature": 0},
        "it refuses a temperature of 0",
        milder=((0.01, {**_PLAIN, "temperature": 0.01}),),
        worst=("quirks.refuses", "temperature", "it refuses temperature"),
    ),
    Question(
        "quirks.max_top_p",
        None,
        {**_PLAIN, "top_p": 1},
        "it refuses a top_p of 1",
        milder=((0.99, {**_PLAIN, "top_p": 0.99}),),
        worst=("quirks.refuses", "top_p", "it refuses top_p"),
    ),
    Question(
        "quirks.developer_role",
        False,
        {"messages": [{"role": "developer", "content": "Be brief."}, _ASK]},
        "it refuses messages of the role developer",
    ),
    Question(
        "quirks.system_messages",
        None,
        {"messages": [_SYSTEM, _ASK, _SAID, _SYSTEM, _ASK]},
        "it refuses system messages that are not the first one",
        without={"messages": [_ASK, _SAID, _ASK]},
        milder=(("first", {"messages": [_SYSTEM, _ASK, _SAID, _ASK]}),),
        worst=("quirks.system_messages", "none", "it refuses system messages"),
    ),
    Question(
        "quirks.content_parts",
        False,
        {"messages": [{"role": "user", "content": [{"type": "text", "text": _ASK["content"]}]}]},
        "it refuses content that is a list",
    ),
    Question(
        "quirks.null_content",
        False,
        {"messages": [_ASK, {**_CALL, "content": None}, _RESULT], "tools": _TOOLS},
        "it refuses messages of the assistant without content",
        without={"messages": [_ASK, _CALL, _RESULT], "tools": _TOOLS},
    ),
    Question(
        "quirks.message_names",
        False,
        {"messages": [{**_ASK, "name": "ann"}, {**_SAID, "name": "bob"}, _ASK]},
        "it refuses name in messages",
        without={"messages": [_ASK, _SAID, _ASK]},
    ),
    Question(
        "quirks.reasoning_content",
        False,
        {"messages": [_ASK, {**_SAID, "reasoning_content": "They ask for a yes."}, _ASK]},
        "it refuses reasoning that is sent back",
        without={"messages": [_ASK, _SAID, _ASK]},
    ),
    Question(
        "quirks.strict_tools",
        False,
        {**_PLAIN, "tools": [{"type": "function", "function": {**_FUNCTION, "strict": True}}]},
        "it refuses strict in tools",
        without={**_PLAIN, "tools": _TOOLS},
    ),
    _field("parallel_tool_calls", False, tools=_TOOLS),
    _field("store", False),
    _field("user", "tunegate-probe"),
    _field("seed", 7),
    _field("service_tier", "auto"),
    _field("logprobs", False),
    _field("presence_penalty", 0),
    _field("frequency_penalty", 0),
    _field("response_format", {"type": "text"}),
)

WRONG_MODEL = "tunegate-probe-no-such-model"
"""Asked for once, to see what a refusal looks like there."""
