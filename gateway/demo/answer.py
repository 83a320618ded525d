"""What a route hands to the server: a whole document, or the events of a stream, and how to misbehave."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.demo.directive import NO_DIRECTIVE, Directive

_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Stamp:
    """When an answer is made (unix seconds), and the chance its ids come from."""

    created: int
    chance: random.Random

    def id(self, prefix: str) -> str:
        """A new id such as `chatcmpl-...`."""
        return prefix + "".join(self.chance.choices(_ALPHABET, k=24))


@dataclass(frozen=True, slots=True)
class Answer:
    """A 200. `events` is None unless the client asked for a stream; `[DONE]` follows them."""

    document: dict[str, Any]
    events: Sequence[dict[str, Any]] | None = None
    directive: Directive = NO_DIRECTIVE

    @property
    def output_tokens(self) -> int:
        """How many tokens it took to write, zero for what is not written token by token."""
        usage = self.document.get("usage") or {}
        return int(usage.get("completion_tokens", 0))


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """The usage object of chat and completions."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
