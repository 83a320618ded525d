"""Token counts made offline, where an upstream reports none or a prompt has to be known before it is sent.

The vocabularies are inside `splintr`; it is loaded with the first count, which takes about 0.15 s and 45 MB,
so that a process that never estimates does not pay. It holds the interpreter while it works, therefore text
is cut into pieces of a few milliseconds: long text is best counted in a thread.
Counts of text are those of the official tokenizer. Counts of prompts are estimates: what the official API
adds for tools, images and audio is not published, and is taken rather too high than too low.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from typing import Any, Literal

import msgspec

from gateway.domain.model_id import parse_model_id

Encoding = Literal["o200k_base", "cl100k_base"]

MOST_COUNTED = 4 * 1024 * 1024
"""Characters of a text that are counted; beyond them each byte is a token, the most it can be."""

PER_MESSAGE = 3
"""Tokens that frame a message (OpenAI cookbook, "How to count tokens with tiktoken")."""
REPLY_PRIMER = 3
"""Tokens that open the reply, once a request."""

_OLDER = re.compile(
    r"gpt-4(?!o|\.)(?:$|-)|gpt-3\.?5|text-embedding-3-|text-embedding-ada-002|(?:davinci|babbage)-002"
)
_PIECE = 8192  # characters; 1 to 5 ms
_IMAGE = 3_000  # of the model families that cut images into tiles or patches; high detail, the most
_IMAGE_OF_4O_MINI = 48_169  # gpt-4o-mini counts images 33 times higher
_AUDIO_LETTERS = 100  # of base64 to a token: 10 tokens a second at the lowest bit rate in use

_loading = threading.Lock()
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def count_text(text: str, model: str) -> int:
    """The tokens of a text for a model; at least 1 where there is any text.

    Special tokens spelled out in the text count as text. Takes about 0.2 us a character.
    """
    counted = text[:MOST_COUNTED]
    ids = _tokenizer(encoding_of(model))
    total = sum(len(ids(piece)) for piece in _pieces(counted))
    if len(text) > MOST_COUNTED:
        total += len(text[MOST_COUNTED:].encode("utf-8", "replace"))
    return total


def count_prompt(fields: Mapping[str, msgspec.Raw], model: str) -> int:
    """The prompt tokens of a request's body, estimated by the cookbook's rule.

    Knows the `messages` of chat with `tools`, `functions` and `response_format`, the `prompt` of completions
    and the `input` of embeddings. What has no known shape counts by its JSON text, so nothing is free.
    """
    total = 0
    if (messages := _value(fields, "messages")) is not None:
        total += REPLY_PRIMER + sum(_message(message, model) for message in _entries(messages))
    for name in ("tools", "functions", "response_format"):
        if (value := _value(fields, name)) is not None:
            total += _json(value, model)
    for name in ("prompt", "input"):
        if (value := _value(fields, name)) is not None:
            total += _texts(value, model)
    return total


@lru_cache(maxsize=1024)
def encoding_of(model: str) -> Encoding:
    """The encoding of a model, by the base that its id names; the newer one where nothing is known."""
    return "cl100k_base" if _OLDER.match(parse_model_id(model).base or model) else "o200k_base"


def _tokenizer(encoding: Encoding) -> Callable[[str], list[int]]:
    with _loading:  # threads that count at the same moment would each load their own
        return _loaded(encoding)


@cache
def _loaded(encoding: Encoding) -> Callable[[str], list[int]]:
    from splintr import Tokenizer  # noqa: PLC0415 - 45 MB that only those who count should hold

    ids: Callable[[str], list[int]] = Tokenizer.from_pretrained(encoding).encode_ordinary
    return ids


def _pieces(text: str) -> Iterable[str]:
    """The text in pieces whose counts add up to its own.

    Both encodings begin a new token at a space after something else, so a cut there changes nothing. A long
    run without one is cut anyway; its count is off by a token or so.
    """
    text = text.encode("utf-8", "replace").decode() if not text.isascii() else text  # lone surrogates
    start = 0
    while len(text) - start > _PIECE:
        end = start + _PIECE
        at = text.rfind(" ", start + 1, end)
        while at > start and text[at - 1].isspace():
            at = text.rfind(" ", start + 1, at)
        end = at if at > start else end
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _value(fields: Mapping[str, msgspec.Raw], name: str) -> Any:
    """A field of the body; its bare text where it is not quite JSON, such as half a surrogate pair."""
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return _decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return bytes(raw).decode("utf-8", "replace")


def _message(message: Any, model: str) -> int:
    if not isinstance(message, dict):
        return PER_MESSAGE + _json(message, model)
    total = PER_MESSAGE
    for name, value in message.items():
        if value is None:
            continue
        if name == "content":
            total += sum(_part(part, model) for part in _entries(value))
        elif isinstance(value, str):
            total += count_text(value, model) + (name == "name")
        else:
            total += _json(value, model)
    return total


def _part(part: Any, model: str) -> int:
    if isinstance(part, str):
        return count_text(part, model)
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        return count_text(part[kind], model)
    if kind == "image_url":
        return _IMAGE_OF_4O_MINI if "gpt-4o-mini" in model else _IMAGE
    if kind == "input_audio" and isinstance(part.get(kind), dict):
        return 1 + len(str(part[kind].get("data"))) // _AUDIO_LETTERS
    return _json(part, model)


def _texts(value: Any, model: str) -> int:
    """A text, token ids, or a list of either."""
    if isinstance(value, str):
        return count_text(value, model)
    if not isinstance(value, list):
        return _json(value, model)
    if _is_ids(value):
        return len(value)
    return sum(
        _texts(each, model) if isinstance(each, str) or _is_ids(each) else _json(each, model)
        for each in value
    )


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, int) for each in value)


def _json(value: Any, model: str) -> int:
    return count_text(_encode(value).decode(), model)


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
