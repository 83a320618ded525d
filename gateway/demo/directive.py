"""The directives of a user's text: misbehave on demand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from gateway.demo.errors import on_demand

DEFAULT_ERROR = 500
DEFAULT_SLOW_S = 10
MOST_SLOW_S = 600

_DIRECTIVE = re.compile(r"\bdemo:(error|cut|slow)\b(?:[ ]+(\d{1,3})\b)?([ ]+all\b)?")


@dataclass(frozen=True, slots=True)
class Directive:
    """What the text asks for; `value` is a status for `error` and seconds for `slow`."""

    kind: Literal["none", "error", "cut", "slow"] = "none"
    value: int = 0

    @property
    def cuts(self) -> bool:
        """True where the reply breaks off midway."""
        return self.kind == "cut"

    @property
    def delay_s(self) -> int:
        """Seconds to wait before the first token, on top of the usual pace."""
        return self.value if self.kind == "slow" else 0

    def check(self) -> None:
        """Raise the error that was asked for, if one was."""
        if self.kind == "error":
            raise on_demand(self.value)


NO_DIRECTIVE = Directive()


def find_directive(text: str, model: str) -> Directive:
    """The first directive in a text, if it strikes this model: an `ft:` id, or any where it ends in `all`."""
    found = _DIRECTIVE.search(text)
    if found is None or not (found[3] or model.startswith("ft:")):
        return NO_DIRECTIVE
    match found[1]:
        case "error":
            status = int(found[2] or DEFAULT_ERROR)
            return Directive("error", status if 400 <= status <= 599 else DEFAULT_ERROR)
        case "slow":
            return Directive("slow", min(int(found[2] or DEFAULT_SLOW_S), MOST_SLOW_S))
        case _:
            return Directive("cut")
