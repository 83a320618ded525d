"""What is said to people who mistype: a place, what is wrong there, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

Path = tuple[str | int, ...]
"""Where a value stands: keys and list indexes from the top of the file."""

_MOST_NAMES = 12  # a longer list is not read


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake or warning.

    Args:
        path: such as "aliases.support.upstreams[1]"; empty where it is about the whole file.
        line: counted from 1; None where the value came from no file.
        message: says what is wrong and what to do. Never holds a secret.
        name: of the file, as the person gave it.
    """

    path: str
    line: int | None
    message: str
    name: str = ""

    def __str__(self) -> str:
        place = self.name if self.line is None else f"{self.name}:{self.line}"
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(Exception):
    """The configuration is refused; `problems` has every mistake, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


def render_path(path: Path) -> str:
    """Write a path as people do: dots, `[1]` for list entries, quotes around unusual keys."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{quote(part)}]"
    return text


def quote(text: str) -> str:
    """Put a short text in quotes, fit for one line of a terminal."""
    return f'"{printable(text)}"'


def printable(text: str) -> str:
    """A short text, fit for one line of a terminal."""
    shown = text if len(text) <= 80 else text[:77] + "..."
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in shown)


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """End a message about an unknown name: `; did you mean "x"? known: x, y`."""
    if not known:
        return "; none is known"
    lower = {name.lower(): name for name in reversed(known)}
    close = [lower[found] for found in get_close_matches(given[:128].lower(), lower, n=1, cutoff=0.6)]
    guess = f"; did you mean {quote(close[0])}?" if close else ";"
    more = f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES + 2 else ""
    shown = known[:_MOST_NAMES] if more else known
    return f"{guess} known: {', '.join(map(printable, shown))}{more}"
