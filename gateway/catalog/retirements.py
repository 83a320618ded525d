"""The bundled table of known retirements, `retirements.json`, and which of its rows hold at an upstream.

A date that an upstream states itself, or that the configuration states, beats the table.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

import msgspec

from gateway.config.upstream import UpstreamSettings


class Retirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row.

    Args:
        kind: of upstream where it holds.
        model: id or glob.
        date: "YYYY-MM-DD", the day of the shutdown.
        source: where the date stands.
        read: "YYYY-MM-DD", the day on which the source was last read.
    """

    kind: str
    model: str
    date: str
    source: str
    read: str

    def covers(self, model: str) -> bool:
        """True where the row is about this id."""
        return fnmatchcase(model, self.model)


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    about: str
    rows: tuple[Retirement, ...]


@cache
def retirements() -> tuple[Retirement, ...]:
    """Every row of the table, in its order."""
    text = files("gateway.catalog").joinpath("retirements.json").read_bytes()
    return msgspec.json.decode(text, type=_Table).rows


def retirements_at(upstream: UpstreamSettings) -> tuple[Retirement, ...]:
    """The rows that hold at an upstream.

    Rows of `ft:` ids hold at every upstream of their kind, relays included: such an id lives in one account
    of the official API, whoever passes the call on. Rows of base models hold only where official models are
    surely meant: at the official API, and where `owns` names accounts of it. Anyone may call a model of his
    own `gpt-4`.
    """
    host = urlsplit(upstream.base_url or "").hostname or ""
    is_official = bool(upstream.owns) or host == "openai.com" or host.endswith(".openai.com")
    return tuple(
        row
        for row in retirements()
        if row.kind == upstream.kind and (is_official or row.model.startswith("ft:"))
    )
