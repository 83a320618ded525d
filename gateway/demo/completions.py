"""`POST /v1/completions`, the older text route: prompts in, one text a prompt and choice out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from gateway.demo import tokens
from gateway.demo.answer import Answer, Stamp, usage_of
from gateway.demo.chat import cut
from gateway.demo.chat_request import MOST_CHOICES, MOST_TOKENS, model_of, streaming_of
from gateway.demo.directive import find_directive
from gateway.demo.fields import Fields, wrong_type

DEFAULT_TOKENS = 16
"""The official default: a reply without `max_tokens` is short."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as text; `tokens` were counted, or given as token ids, which the demo cannot read."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class _Text:
    index: int
    echoed: str
    pieces: tuple[str, ...]
    finish_reason: str


def answer_completion(body: Mapping[str, Any], stamp: Stamp) -> Answer:
    """Check and answer. Raises `ApiError`."""
    fields = Fields(body)
    refusal = "This is not a completion model and thus not supported in the v1/completions endpoint."
    model = model_of(fields, "chat", refusal)
    prompts = parse_prompts("prompt", fields.required("prompt"))
    stream, include_usage = streaming_of(fields)
    directive = find_directive(prompts[-1].text, model.id)
    limit = fields.integer("max_tokens", 1, MOST_TOKENS) or DEFAULT_TOKENS
    stop = tuple(text for text in fields.texts("stop", 4) if text)
    choices = fields.integer("n", 1, MOST_CHOICES) or 1
    echo = fields.flag("echo")
    directive.check()

    texts: list[_Text] = []
    for prompt in prompts:
        for number in range(choices):
            pieces, finish_reason = cut(model.voice(prompt.text, number), stop, limit)
            texts.append(_Text(len(texts), prompt.text if echo else "", pieces, finish_reason))
    usage = usage_of(sum(prompt.tokens for prompt in prompts), sum(len(text.pieces) for text in texts))
    head = {"id": stamp.id("cmpl-"), "object": "text_completion", "created": stamp.created, "model": model.id}
    whole = [_part(text.index, text.echoed + "".join(text.pieces), text.finish_reason) for text in texts]
    document = {**head, "choices": whole, "usage": usage}
    if not stream:
        return Answer(document, None, directive)
    turns = chain.from_iterable(zip_longest(*(_parts(text) for text in texts)))
    shared = {**head, **({"usage": None} if include_usage else {})}
    events = [{**shared, "choices": [part]} for part in turns if part is not None]
    if include_usage:
        events.append({**shared, "choices": [], "usage": usage})
    return Answer(document, events, directive)


def parse_prompts(param: str, value: Any) -> list[Prompt]:
    """A string, a list of strings, a list of token ids or a list of such lists. Raises 400 for the rest."""
    if isinstance(value, str):
        return [Prompt(value, tokens.count(value))]
    if not isinstance(value, list) or not value:
        raise wrong_type(param, "a string or a non-empty array", value)
    if _are_token_ids(value):
        return [Prompt("", len(value))]
    return [_parse_item(param, item) for item in value]


def _parse_item(param: str, item: Any) -> Prompt:
    if isinstance(item, str):
        return Prompt(item, tokens.count(item))
    if isinstance(item, list) and item and _are_token_ids(item):
        return Prompt("", len(item))
    raise wrong_type(param, "an array of strings or of token arrays", item)


def _are_token_ids(items: list[Any]) -> bool:
    return all(isinstance(item, int) and not isinstance(item, bool) for item in items)


def _parts(text: _Text) -> Iterator[dict[str, Any]]:
    if text.echoed:
        yield _part(text.index, text.echoed, None)
    for piece in text.pieces:
        yield _part(text.index, piece, None)
    yield _part(text.index, "", text.finish_reason)


def _part(index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}
