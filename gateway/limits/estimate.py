"""What a call may take at most, and what it likely takes: read from its body before anything is sent.

Two figures are needed. Tokens a minute are taken by an estimate, which the settlement corrects. Money is held
by a bound that the call cannot exceed.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from gateway.domain.call import CHAT, COMPLETIONS, EMBEDDINGS, Call
from gateway.domain.errors import InvalidRequest
from gateway.limits.values import UNLIMITED

BYTES_PER_TOKEN = 4
"""Of English and of code. Other scripts have fewer characters a token, and more bytes a character."""

MEDIA_TOKENS = 1000
"""What a picture or a document in the body is taken for, as its bytes tell nothing: a picture of 1024 by 1024
is 765 tokens at gpt-4o (OpenAI API, guide "Images and vision")."""

_CAPS = {
    CHAT.name: ("max_tokens", "max_completion_tokens"),
    COMPLETIONS.name: ("max_tokens",),
    EMBEDDINGS.name: (),
}
_ASKING = frozenset({*_CAPS[CHAT.name], "n"})  # fields of a chat that say more of its size than their bytes
_LEAST_CAP = {CHAT.name: 1, COMPLETIONS.name: 0}
_MEDIA = b";base64,"
_NULL = Raw(b"null")
_WHOLE = re.compile(rb"-?[0-9]+")
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_items = msgspec.json.Decoder(list[Raw]).decode


class Size(msgspec.Struct, frozen=True):
    """What the body of a call says of its size.

    Args:
        prompt_bytes: of all that could be prompt, pictures and documents included.
        media_bytes: of the pictures and documents among it.
        media: how many these are.
        answers: how many the model writes; 0 where the route has none.
        cap: the most tokens that one answer may have by the caller's will; None where that is left open.
    """

    prompt_bytes: int
    media_bytes: int
    media: int
    answers: int
    cap: int | None

    @property
    def most_prompt_tokens(self) -> int:
        """The most tokens that the text of the prompt has: none is shorter than a byte."""
        return self.prompt_bytes

    def most_output_tokens(self, default_cap: int | None, model_max: int | None) -> int | None:
        """The most tokens that all answers have together; None where nothing bounds them.

        Args:
            default_cap: the alias's or the key's, for where the caller gives none.
            model_max: the most that the model writes in one answer, where that is known.
        """
        if self.answers == 0:
            return 0
        cap = default_cap if self.cap is None else self.cap
        if cap is None or (model_max is not None and model_max < cap):
            cap = model_max
        return None if cap is None else self.answers * cap

    def likely_tokens(self, assumed_output_tokens: int, model_max: int | None = None) -> int:
        """The estimate of prompt and answers together, for the tokens a minute.

        Args:
            assumed_output_tokens: of one answer, for where the caller gives no cap.
            model_max: as above.
        """
        output = assumed_output_tokens if self.cap is None else self.cap
        if model_max is not None and model_max < output:
            output = model_max
        text = -(-(self.prompt_bytes - self.media_bytes) // BYTES_PER_TOKEN)
        return text + self.media * MEDIA_TOKENS + self.answers * output


def size_of(call: Call) -> Size:
    """Read what the body of a call says of its size.

    Null is as if absent. Where both caps of the chat route are given the larger one counts, as upstreams
    differ in which one they obey.

    Raises:
        InvalidRequest: a number that the official API refuses too: below its minimum, or not whole.
    """
    fields = call.fields
    cap, answers = (None, 1) if call.route is CHAT and _ASKING.isdisjoint(fields) else _asked(call)
    values = b"".join(fields.values())
    media = media_bytes = 0
    if values.find(_MEDIA) >= 0:  # `in` first takes bytes for a number and fails inside
        for value in fields.values():
            count, size = _media_in(bytes(value))
            media += count
            media_bytes += size
    return Size(len(values), media_bytes, media, answers, cap)


def _asked(call: Call) -> tuple[int | None, int]:
    """The cap on an answer, and how many are asked for. Raises like `size_of`."""
    fields, route = call.fields, call.route
    cap = None
    for name in _CAPS[route.name]:
        if name in fields and (given := _whole(fields, name, _LEAST_CAP[route.name])) is not None:
            cap = given if cap is None else max(cap, given)
    answers = 0
    if route is not EMBEDDINGS:
        answers = (_whole(fields, "n", 1) or 1) if "n" in fields else 1
    if route is COMPLETIONS:
        # The candidates that `best_of` drops are paid for too.
        answers = max(answers, _whole(fields, "best_of", 1) or 1) * _prompts(fields.get("prompt", _NULL))
    return cap, answers


def _whole(fields: dict[str, Raw], name: str, least: int) -> int | None:
    """A whole number, `UNLIMITED` at most; None where absent or null. As in JSON Schema, `5.0` is whole."""
    given = fields.get(name)
    if given is None or (raw := bytes(given)) == b"null":
        return None
    if _WHOLE.fullmatch(raw) and len(raw) < len(str(UNLIMITED)):
        value = float(int(raw))
    elif _NUMBER.fullmatch(raw):
        value = float(raw)
    else:
        raise InvalidRequest(f"Invalid type for '{name}': expected an integer.", name)
    if value < least:
        raise InvalidRequest(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, "
            f"but got {raw.decode()[:20]} instead.",
            name,
        )
    if value >= UNLIMITED:
        return UNLIMITED
    if not value.is_integer():
        raise InvalidRequest(
            f"Invalid type for '{name}': expected an integer, but got a decimal number instead.", name
        )
    return int(value)


def _prompts(prompt: Raw) -> int:
    """How many prompts the completions route is given: a text, several, a list of tokens, or several."""
    raw = bytes(prompt)
    if not raw.startswith(b"["):
        return 1
    items = _items(raw)
    return len(items) if items and bytes(items[0])[:1] in (b'"', b"[") else 1


def _media_in(raw: bytes) -> tuple[int, int]:
    """(how many, bytes) of the data URLs in a value."""
    count = size = 0
    start = raw.find(_MEDIA)
    while start >= 0:
        end = raw.find(b'"', start)
        count += 1
        size += end - start
        start = raw.find(_MEDIA, end)
    return count, size
