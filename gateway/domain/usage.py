"""Token counts of one call, as the upstream reports them."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens. `cached` and `cache_write` are parts of `prompt`, `reasoning` is a part of `completion`.

    Audio is a part of either; an upstream that says nothing of it used none.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_prompt_tokens: int = 0
    audio_completion_tokens: int = 0
