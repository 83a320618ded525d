"""Plain scalars by the core schema of YAML 1.2, and the text that came out of `${VAR}`.

PyYAML follows YAML 1.1, where `on` is true, `1:30` is ninety and a date is an object; here they are text.
"""

from __future__ import annotations

import math
import re
from typing import Self

_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_LONGEST_NUMBER = 64  # characters; beyond it is an id, and Python refuses to read very long integers


class Substituted(str):
    """Text that holds the value of at least one `${VAR}`. `plain` where the file has it without quotes."""

    __slots__ = ("plain",)

    plain: bool

    def __new__(cls, text: str, *, plain: bool = False) -> Self:
        """Make one of `text`, with every variable replaced."""
        made = super().__new__(cls, text)
        made.plain = plain
        return made


def resolve(text: str) -> str | int | float | bool | None:
    """Read an unquoted scalar: null, a flag, a finite number, or else the text itself."""
    text = str(text)
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= _LONGEST_NUMBER:
        if _INT.fullmatch(text):
            return int(text)
        if _OCTAL.fullmatch(text):
            return int(text, 0)
        if _HEX.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
            return number
    return text
