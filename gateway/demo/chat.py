"""`POST /v1/chat/completions`, answered: what the model says, as one JSON object or as chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from gateway.demo import tokens
from gateway.demo.answer import Answer, Stamp, usage_of
from gateway.demo.chat_request import ChatRequest, text_of
from gateway.demo.directive import find_directive
from gateway.demo.examples import example_json
from gateway.demo.voices import quote, tool_voice

_OTHERS = (
    " the",
    " a",
    ",",
    " and",
    ".",
    " to",
    " of",
    " in",
    "\n",
    " is",
    " it",
    " for",
    " on",
    " we",
    " you",
)


@dataclass(frozen=True, slots=True)
class _Call:
    id: str
    name: str
    pieces: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": "".join(self.pieces)},
        }


@dataclass(frozen=True, slots=True)
class _Choice:
    index: int
    pieces: tuple[str, ...]
    calls: tuple[_Call, ...]
    finish_reason: str

    @property
    def tokens(self) -> int:
        return len(self.pieces) + sum(len(call.pieces) for call in self.calls)


def answer_chat(request: ChatRequest, stamp: Stamp) -> Answer:
    """Answer a chat request. Raises the error that its text asks for."""
    directive = find_directive(request.question, request.model.id)
    directive.check()
    choices = [_choose(request, stamp, index) for index in range(request.choices)]
    prompt = tokens.count_messages(request.messages)
    usage = usage_of(prompt, sum(choice.tokens for choice in choices))
    head = {
        "id": stamp.id("chatcmpl-"),
        "object": "chat.completion",
        "created": stamp.created,
        "model": request.model.id,
        "service_tier": "default",
        "system_fingerprint": "fp_demo000000",
    }
    document = {
        **head,
        "choices": [_whole(choice, request.top_logprobs) for choice in choices],
        "usage": usage,
    }
    if not request.stream:
        return Answer(document, None, directive)
    shared = {**head, "object": "chat.completion.chunk", **({"usage": None} if request.include_usage else {})}
    events = [{**shared, "choices": [part]} for part in _interleave(choices, request.top_logprobs)]
    if request.include_usage:
        events.append({**shared, "choices": [], "usage": usage})
    return Answer(document, events, directive)


def cut(text: str, stop: Iterable[str], limit: int | None) -> tuple[tuple[str, ...], str]:
    """The tokens of a text up to the first stop sequence and the token limit, and the finish reason."""
    ends = [at for sequence in stop if (at := text.find(sequence)) >= 0]
    pieces = tokens.split(text[: min(ends, default=len(text))])
    if limit is not None and len(pieces) > limit:
        return tuple(pieces[:limit]), "length"
    return tuple(pieces), "stop"


def _choose(request: ChatRequest, stamp: Stamp, index: int) -> _Choice:
    if request.calls:
        return _call(request, stamp, index)
    last = request.messages[-1]
    if last["role"] in ("tool", "function"):
        text = tool_voice(text_of(last))
    elif request.json_schema == {"type": "object"}:
        text = example_json(_FREE_FORM, quote(request.question))
    elif request.json_schema is not None:
        text = example_json(request.json_schema, request.question)
    else:
        text = request.model.voice(request.question, index)
    pieces, finish_reason = cut(text, request.stop, request.token_limit)
    return _Choice(index, pieces, (), finish_reason)


_FREE_FORM = {
    "type": "object",
    "properties": {"simulated": {"type": "boolean"}, "you_wrote": {"type": "string"}},
}
"""What `json_object`, which comes without a schema, is answered with."""


def _call(request: ChatRequest, stamp: Stamp, index: int) -> _Choice:
    left = request.token_limit
    finish_reason = "stop" if request.call_is_named else "tool_calls"
    calls: list[_Call] = []
    for function in request.calls:
        arguments = example_json(function.get("parameters") or {"type": "object"}, request.question)
        pieces, end = cut(arguments, (), left)
        calls.append(_Call(stamp.id("call_"), function["name"], pieces))
        if end == "length":
            finish_reason = end
            break
        left = None if left is None else left - len(pieces)
    return _Choice(index, (), tuple(calls), finish_reason)


def _whole(choice: _Choice, top: int | None) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if choice.calls else "".join(choice.pieces),
        "refusal": None,
        "annotations": [],
    }
    if choice.calls:
        message["tool_calls"] = [call.describe() for call in choice.calls]
    return {
        "index": choice.index,
        "message": message,
        "logprobs": _logprobs(choice.pieces, top),
        "finish_reason": choice.finish_reason,
    }


def _interleave(choices: list[_Choice], top: int | None) -> Iterator[dict[str, Any]]:
    """The choices of all chunks, those of several indexes taking turns."""
    turns = zip_longest(*(_parts(choice, top) for choice in choices))
    return (part for part in chain.from_iterable(turns) if part is not None)


def _parts(choice: _Choice, top: int | None) -> Iterator[dict[str, Any]]:
    def part(
        delta: dict[str, Any], *, logprobs: Any = None, finish_reason: str | None = None
    ) -> dict[str, Any]:
        return {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}

    yield part({"role": "assistant", "content": None if choice.calls else "", "refusal": None})
    for piece in choice.pieces:
        yield part({"content": piece}, logprobs=_logprobs((piece,), top))
    for number, call in enumerate(choice.calls):
        opening = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield part({"tool_calls": [{"index": number, **opening}]})
        for piece in call.pieces:
            yield part({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    yield part({}, finish_reason=choice.finish_reason)


def _logprobs(pieces: tuple[str, ...], top: int | None) -> dict[str, Any] | None:
    if top is None:
        return None
    return {"content": [_logprob(piece, top) for piece in pieces], "refusal": None}


def _logprob(piece: str, top: int) -> dict[str, Any]:
    """The token at near certainty; the also-rans are the same few words each time."""
    others = [word for word in _OTHERS if word != piece]
    ranked = [piece, *others, *(f"{word}s" for word in others)][:top]
    scored = [
        {"token": word, "logprob": -0.05 - 3.0 * rank, "bytes": list(word.encode())}
        for rank, word in enumerate(ranked or [piece])
    ]
    return {**scored[0], "top_logprobs": scored[:top]}
