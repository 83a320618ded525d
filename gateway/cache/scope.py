"""Who shares answers with whom."""

from __future__ import annotations

from gateway.domain.principal import Principal


class Scope:
    """The circle of callers among whom an answer may be shared: one key, or one team.

    It is made of a principal and of nothing else, and no cache key is made without it: there is no scope that
    is everyone's.
    """

    __slots__ = ("_text",)

    def __init__(self, principal: Principal) -> None:
        if principal.cache_scope == "team" and principal.team is not None:
            self._text = f"team:{principal.team}"
        else:
            self._text = f"key:{principal.key_id}"

    def __str__(self) -> str:
        return self._text
