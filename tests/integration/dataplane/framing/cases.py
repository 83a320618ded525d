"""The table of `cases.toml`, and its placeholders filled in."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.client import HI

_TABLE = Path(__file__).with_name("cases.toml")
_PLACEHOLDER = re.compile(r"\{(\d+\*(?P<repeated>[^}]*)|\w+)\}", re.DOTALL)
_CHUNKED = "Transfer-Encoding: chunked\r\n"


@dataclass(frozen=True)
class Case:
    """One connection.

    Args:
        sent: all that the client sends.
        answers: the statuses that come, in order.
        reaches: the models that the upstream is asked for.
        heads: so many answers, from the first on, have no body.
    """

    name: str
    sent: str
    answers: tuple[int, ...]
    reaches: tuple[str, ...]
    heads: int = 0

    def wire(self, key: str, user: str) -> bytes:
        """What to send, for a key; calls say that they are of this user."""
        return fill(self.sent, key, user).encode("latin-1")


def read_cases() -> list[Case]:
    """The whole table."""
    groups = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return [
        _case(f"{group}: {name}", given) for group, cases in groups.items() for name, given in cases.items()
    ]


def _case(name: str, given: str | dict[str, Any]) -> Case:
    if isinstance(given, str):
        return Case(name, given, (400,), ())
    assert given.pop("why"), name
    answers, reaches = tuple(given.pop("answers")), tuple(given.pop("reaches", ()))
    return Case(name, given.pop("sent"), answers, reaches, **given)


def fill(text: str, key: str, user: str) -> str:
    """A text with its placeholders filled in."""
    body, other = (
        json.dumps({"model": model, "messages": HI, "user": user}) for model in ("first", "second")
    )
    authorization = f"Authorization: Bearer {key}\r\n"
    chat = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{authorization}"
    second = f"{chat}Content-Length: {len(other)}\r\n\r\n{other}"
    close = "Connection: close\r\n"
    size, whole = len(body), len(second)
    known = {
        "body": body,
        "chat": chat,
        "chunks": f"{size:x}\r\n{body}\r\n0\r\n\r\n",
        "close": close,
        "key": authorization,
        "last": f"{chat}{close}Content-Length: {len(other)}\r\n\r\n{other}",
        "m": str(whole),
        "mx": f"{whole:x}",
        "n": str(size),
        "nm": str(size + whole),
        "open": f"{chat}{_CHUNKED}\r\n",
        "openclose": f"{chat}{_CHUNKED}{close}\r\n",
        "second": second,
        "x": f"{size:x}",
        "X": f"{size:X}",
        "x1": f"{size - 1:x}",
    }

    def replace(found: re.Match[str]) -> str:
        repeated = found["repeated"]
        return known[found[1]] if repeated is None else repeated * int(found[1].partition("*")[0])

    return _PLACEHOLDER.sub(replace, text)
