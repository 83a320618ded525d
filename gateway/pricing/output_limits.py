"""How many tokens a model can answer with at most, as its provider says."""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.domain.model_id import parse_model_id
from gateway.pricing import bundled

_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")

OUTPUT_LIMITS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (4_096, ("gpt-4o-2024-05-13", "gpt-4-turbo", "gpt-4-turbo-preview", "gpt-4-1106-preview")),
    (4_096, ("gpt-4-0125-preview", "gpt-3.5-turbo", "gpt-3.5-turbo-0125", "gpt-3.5-turbo-1106")),
    (4_096, ("gpt-3.5-turbo-0613", "gpt-3.5-turbo-instruct")),
    (8_192, ("gpt-4", "gpt-4-0613", "gpt-4-0314")),
    (16_384, ("gpt-4o", "gpt-4o-mini", "gpt-4o-search-preview", "gpt-4o-mini-search-preview")),
    (16_384, ("gpt-4o-audio-preview", "gpt-4o-mini-audio-preview", "gpt-audio", "gpt-audio-mini")),
    (16_384, ("chatgpt-4o-latest", "gpt-4.5-preview", "babbage-002", "davinci-002")),
    (16_384, ("gpt-5-chat-latest", "gpt-5.1-chat-latest", "gpt-5.2-chat-latest", "gpt-5.3-chat-latest")),
    (32_768, ("gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "o1-preview")),
    (65_536, ("o1-mini",)),
    (100_000, ("o1", "o1-pro", "o3", "o3-mini", "o3-pro", "o4-mini")),
    (100_000, ("o3-deep-research", "o4-mini-deep-research")),
    (128_000, ("gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5-codex", "gpt-5-search-api")),
    (128_000, ("gpt-5.1", "gpt-5.1-codex", "gpt-5.1-codex-max", "gpt-5.1-codex-mini")),
    (128_000, ("gpt-5.2", "gpt-5.2-codex", "gpt-5.2-pro", "gpt-5.3-codex")),
    (128_000, ("gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano", "gpt-5.4-pro", "gpt-5.5", "gpt-5.5-pro")),
    (128_000, ("gpt-5.6", "gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna")),
    (128_000, ("gpt-6-astra", "gpt-6-sol", "gpt-6-luna", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-6-rosalind")),
    (272_000, ("gpt-5-pro",)),
)
"""Tokens, and the models that answer with at most so many; a name covers its dated snapshots too.

From the official model pages, and the price file of LiteLLM 1.109.1 for models of 2026.
"""

_LIMITS = {name: tokens for tokens, names in OUTPUT_LIMITS for name in names}


@lru_cache(maxsize=4096)
def max_output_tokens(model: str) -> int | None:
    """The most tokens that one answer of a model can have, reasoning included.

    A fine-tune answers with as many as its base. Where only the whole context is known it is that, which no
    answer exceeds. None for models of which nothing is known.
    """
    name = parse_model_id(model).base or model
    limit = _LIMITS.get(name) or _LIMITS.get(_DATE.sub("", name))
    return limit or bundled.context_window(name)
