"""Keeps what we send to an upstream as a secret out of what we tell of its answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
        # Whatever has a window in common with a secret has one of these at every second aligned place.
        self._steps = self._own_steps = _pieces(secrets, _STEP)
        self._last = ""

    def also(self, secret: str) -> None:
        """Hide this one too, in place of the one before the last: tokens follow one another."""
        both = [self._last, secret]
        self._windows = self._own_windows | _pieces(both, WINDOW)
        self._steps = self._own_steps | _pieces(both, _STEP)
        self._last = secret

    def hide(self, text: str) -> str:
        """The text with `***` in place of every piece of a secret. What holds none comes back at once."""
        count = len(text) // _STEP
        places = _PLACES[count] if count < len(_PLACES) else _places(count)
        if self._steps.isdisjoint(map(text.__getitem__, places)):
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


def _places(count: int) -> tuple[slice, ...]:
    """The first places of a text that a step is looked for at."""
    return tuple(slice(at, at + _STEP) for at in range(0, count * _STEP, _STEP))


_PLACES = [_places(count) for count in range(64)]  # of most texts: ids have some 40 characters


def _pieces(secrets: Iterable[str], length: int) -> frozenset[str]:
    return frozenset(secret[at : at + length] for secret in secrets for at in range(len(secret) - length + 1))
