"""A JSON reply, read once: is it one, and what did it use?"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from gateway.domain.errors import AttemptFailed, FailureClass
from gateway.domain.usage import Usage
from gateway.relay.chunk import MAX_COUNT, error_of, load_object, read_usage, text_of, tier_of

_ABSENT = msgspec.Raw()
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_Part = _Count | None


class _OfPrompt(msgspec.Struct):
    cached_tokens: _Part | UnsetType = UNSET
    cache_write_tokens: _Part = None
    audio_tokens: _Part = None


class _OfCompletion(msgspec.Struct):
    reasoning_tokens: _Part = None
    audio_tokens: _Part = None


class _Stated(msgspec.Struct):
    """A usage whose counts are counts, as nearly all are: decoded without a step of Python for each."""

    prompt_tokens: _Count
    completion_tokens: _Count = 0
    prompt_tokens_details: _OfPrompt | None = None
    completion_tokens_details: _OfCompletion | None = None
    prompt_cache_hit_tokens: _Part = None

    def usage(self) -> Usage:
        """The same as `read_usage` reads."""
        prompt, completion, cached = self.prompt_tokens, self.completion_tokens, self.prompt_cache_hit_tokens
        written = heard = reasoning = spoken = None
        if (of_prompt := self.prompt_tokens_details) is not None:
            if of_prompt.cached_tokens is not UNSET:
                cached = of_prompt.cached_tokens
            written, heard = of_prompt.cache_write_tokens, of_prompt.audio_tokens
        if (of_completion := self.completion_tokens_details) is not None:
            reasoning, spoken = of_completion.reasoning_tokens, of_completion.audio_tokens
        if not (cached or written or reasoning or heard or spoken):  # as of most, whose details are all 0
            return Usage(prompt, completion)
        return Usage(
            prompt,
            completion,
            min(cached, prompt) if cached else 0,
            min(written, prompt) if written else 0,
            min(reasoning, completion) if reasoning else 0,
            min(heard, prompt) if heard else 0,
            min(spoken, completion) if spoken else 0,
        )


class _Reply(msgspec.Struct):
    """Only what the gateway reads; the rest is checked to be JSON and skipped."""

    usage: _Stated | None = None
    service_tier: Any = None
    choices: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


class _OddReply(msgspec.Struct):
    """The same of a reply whose usage is odd in some way."""

    usage: Any = None
    service_tier: Any = None
    choices: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


_decode = msgspec.json.Decoder(_Reply).decode
_decode_odd = msgspec.json.Decoder(_OddReply).decode


class Reply(msgspec.Struct, frozen=True):
    """A JSON reply. `usage` is None where it states none."""

    body: bytes
    usage: Usage | None
    service_tier: str | None

    def text(self) -> str:
        """What the model wrote, for an estimate where no usage is stated."""
        return text_of(load_object(self.body) or {})


def read_reply(body: bytes) -> Reply:
    """Check a 200 reply and read what the gateway needs of it.

    Raises:
        AttemptFailed: `bad_response`, for what is no JSON object or is an error despite its status.
    """
    reply: _Reply | _OddReply
    try:
        try:
            reply = _decode(body)
            usage = None if reply.usage is None else reply.usage.usage()
        except msgspec.ValidationError:
            reply = _decode_odd(body)
            usage = read_usage(reply.usage)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise AttemptFailed(
            FailureClass.BAD_RESPONSE, "The upstream's answer is not a JSON object."
        ) from None
    if not reply.choices and not reply.data:
        error = error_of(load_object(body) or {})
        if error is not None:
            detail = "The upstream answered 200 with an error inside."
            raise AttemptFailed(FailureClass.BAD_RESPONSE, detail, error=error)
    tier = reply.service_tier
    return Reply(body, usage, None if tier is None else tier_of(tier))
