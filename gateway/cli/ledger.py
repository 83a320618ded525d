"""`tunegate ledger`: whether the counters of usage say what the ledger says."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from gateway.cli.admin_client import AdminClient, administers
from gateway.cli.output import print_json, print_rows
from gateway.cli.progress import progress

_COLUMNS = [
    ("TIME", "time"),
    ("KEY", "key"),
    ("ALIAS", "alias"),
    ("MODEL", "model"),
    ("UPSTREAM", "upstream"),
    ("RELEASE", "release"),
    ("TEAM", "team"),
    ("FIGURE", "metric"),
    ("COUNTER", "counter"),
    ("LEDGER", "ledger"),
]


@click.group(no_args_is_help=True)
def ledger() -> None:
    """The ledger: one record for every request that was admitted."""


@ledger.command()
@click.option("--repair", is_flag=True, help="Set the counters to what the records say.")
@administers
def audit(client: AdminClient, repair: bool, as_json: bool) -> None:
    """Compare the counters with the records, and list every difference.

    Calls may go on meanwhile. Days and months of which records are no longer kept cannot be compared: they
    are named, and left as they are. Exits with 1 where there are differences that were not repaired.
    """
    differences: list[dict[str, Any]] = []
    summary: dict[str, Any] | None = None
    pieces = client.stream("POST", "ledger", "audit", body={"repair": repair})
    with progress("shards", None) as advance:
        for line in _lines(pieces):
            match line:
                case {"object": "ledger.audit.difference"}:
                    differences.append(line)
                case {"object": "ledger.audit"}:
                    summary = line
                case {"object": "ledger.audit.shard"}:
                    advance(1)
                case {"error": {"message": message}}:
                    raise click.ClickException(f"the audit was not completed: {message}")
    if summary is None:
        raise click.ClickException("the audit was not completed: the answer ended too early.")
    if as_json:
        print_json({**summary, "data": differences})
    else:
        if differences:
            print_rows(_COLUMNS, differences)
        click.echo(_in_words(summary), err=True)
    sys.exit(0 if summary["differences"] == summary["repaired"] else 1)


def _lines(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from map(json.loads, lines)


def _in_words(summary: dict[str, Any]) -> str:
    looked_at = f"{summary['events']} records and {summary['counters']} counters compared"
    differences, repaired = summary["differences"], summary["repaired"]
    found = f"{differences} differ, {repaired} repaired" if differences else "they agree"
    if gone := summary["not_compared"]:
        found += f"\nnot compared, as records of it are no longer kept: {', '.join(gone)}"
    return f"{looked_at}: {found}"
