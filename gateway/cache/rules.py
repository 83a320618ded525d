"""Which calls may be answered from the cache, and which answers may be kept in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Raw

from gateway.catalog.rewrite import fields_for
from gateway.domain.cache import CacheAsk, CachePolicy
from gateway.domain.call import EMBEDDINGS, Call
from gateway.domain.plan import Target

_NULL = b"null"
_OFF = frozenset({_NULL, b"false"})

STATEFUL: Mapping[str, str] = {
    "store": "the provider keeps the call",
    "audio": "the answer names audio that the provider keeps for a while",
    "web_search_options": "the answer depends on what the web says today",
}
"""Fields that keep a call away from the cache unless absent, null or false, each with the reason."""

NORMAL_FINISHES = frozenset({"stop", "tool_calls", "function_call"})
"""Finish reasons of an answer that is whole: one that a cap on tokens cut, or a filter, is not."""


def is_cacheable(
    call: Call, target: Target, policy: CachePolicy, ask: CacheAsk | None, *, pinned: bool, cap: int | None
) -> bool:
    """Whether a call may take or leave an answer.

    It is judged by what the model would be asked, the alias's defaults and rewrite included. An absent
    temperature is 1, as the official API has it.

    Args:
        pinned: the caller chose the upstream, so another one's answer is not what it wants.
        cap: on output tokens where the caller names none.
    """
    if pinned or (ask is not None and ask.directive == "no-store"):
        return False
    fields = fields_for(call, target, target.candidates[0], cap)
    if any(name in fields and bytes(fields[name]) not in _OFF for name in STATEFUL):
        return False
    return policy.nondeterministic or call.route is EMBEDDINGS or _is_zero(fields.get("temperature"))


def _is_zero(temperature: Raw | None) -> bool:
    if temperature is None:
        return False
    try:
        return float(bytes(temperature)) == 0.0
    except ValueError:
        return False


def is_whole(document: Mapping[str, Any], choices: int) -> bool:
    """Whether a JSON answer is complete, unfiltered and ended as it should.

    Args:
        document: the answer.
        choices: how many answers were asked for.
    """
    if document.get("error") is not None:
        return False
    if "data" in document and "choices" not in document:  # embeddings
        return isinstance(document["data"], list) and bool(document["data"])
    found = document.get("choices")
    if not isinstance(found, list):
        return False
    reasons = [choice.get("finish_reason") if isinstance(choice, dict) else None for choice in found]
    return len(reasons) >= choices and are_normal(reasons)


def are_normal(reasons: Iterable[object]) -> bool:
    """Whether all finish reasons are those of whole answers."""
    return all(reason in NORMAL_FINISHES for reason in reasons)
