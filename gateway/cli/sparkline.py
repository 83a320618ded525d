"""A row of figures as a row of small bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.:-=+*#"


def sparkline(figures: Sequence[int], *, width: int = 30, encoding: str | None = "utf-8") -> str:
    """The figures as bars, the highest at full height; neighbours are summed where they exceed `width`.

    The lowest bar stands for 0 alone, so that little is never mistaken for nothing. An `encoding` without
    block elements gets plain characters.
    """
    together = max(1, math.ceil(len(figures) / width))
    sums = [sum(figures[place : place + together]) for place in range(0, len(figures), together)]
    bars = _BARS if _can_show(encoding) else _PLAIN_BARS
    highest = max(sums, default=0)
    if highest <= 0:
        return bars[0] * len(sums)
    return "".join(bars[math.ceil(max(0, each) * (len(bars) - 1) / highest)] for each in sums)


def _can_show(encoding: str | None) -> bool:
    try:
        _BARS.encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
