"""Keeps what we send to an upstream as a secret out of what we tell of its answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import AnyStr

WINDOW = 8
"""So many characters of a secret in a row are hidden; fewer tell nothing."""

_STEP = WINDOW // 2
_SHOWN = "***"


class Hidden:
    """The secrets of one upstream: its keys and the values of its headers.

    One that is shorter than a window is none: servers that want no key are given words such as `none`.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        secrets = tuple(secret for secret in secrets if len(secret) >= WINDOW)
        self._windows = self._own_windows = _pieces(secrets, WINDOW)
        # Whatever has a window in common with a secret has one of these at every second aligned place, in
        # bytes, which are cut several times as fast as text.
        self._steps = self._own_steps = _pieces(map(_bytes, secrets), _STEP)
        self._last = ""

    def also(self, secret: str) -> None:
        """Hide this one too, in place of the one before the last: tokens follow one another."""
        both = [self._last, secret]
        self._windows = self._own_windows | _pieces(both, WINDOW)
        self._steps = self._own_steps | _pieces(map(_bytes, both), _STEP)
        self._last = secret

    def hide(self, text: str) -> str:
        """The text with `***` in place of every piece of a secret. What holds none comes back at once."""
        raw = _bytes(text)
        count = len(raw) // _STEP
        cut = _CUTS[count] if count < len(_CUTS) else _cut(count)
        if self._steps.isdisjoint(cut.unpack_from(raw)):
            return text
        out: list[str] = []
        at = 0
        while at < len(text):
            if text[at : at + WINDOW] not in self._windows:
                out.append(text[at])
                at += 1
                continue
            while text[at : at + WINDOW] in self._windows:
                at += 1
            at += WINDOW - 1
            out.append(_SHOWN)
        return "".join(out)

    def hide_in(self, error: Mapping[str, object]) -> dict[str, object]:
        """An error object with its texts so."""
        return {name: self.hide(value) if isinstance(value, str) else value for name, value in error.items()}


def _cut(count: int) -> Struct:
    """Cuts as many pieces of the length of a step."""
    return Struct(f"{_STEP}s" * count)


_CUTS = [_cut(count) for count in range(64)]  # of most texts: ids have some 40 characters


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _pieces(secrets: Iterable[AnyStr], length: int) -> frozenset[AnyStr]:
    return frozenset(secret[at : at + length] for secret in secrets for at in range(len(secret) - length + 1))
