"""`tunegate sunset`: what ends when, and what serves then."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.admin_client import AdminClient, administers
from gateway.cli.output import print_json, print_rows

_NAMES = [
    ("NAME", "name"),
    ("ENDS", "shutdown_date"),
    ("DAYS", "days"),
    ("SERVES THEN", "then"),
    ("BASE", "base"),
    ("MOVE", "move"),
    ("DARK FROM", "dark_from"),
]
_TARGETS = [
    ("NAME", "name"),
    ("STEP", "step"),
    ("MODEL", "model"),
    ("UPSTREAM", "upstream"),
    ("ENDS", "shutdown_date"),
    ("DAYS", "days"),
    ("KNOWN FROM", "known_from"),
    ("UNABLE", "unable"),
]


@click.command()
@click.option(
    "--within",
    type=click.IntRange(0, 1_000_000),
    metavar="DAYS",
    help="Only what ends within so many days; exit 1 if an alias goes dark by then.",
)
@administers
def sunset(client: AdminClient, within: int | None, as_json: bool) -> None:
    """Show when the targets of every alias end, and what serves then.

    Listed models with a known end follow the aliases. An alias goes dark on the first day on which none of
    its targets serves, its planned move included.
    """
    found = client.listed("sunset", query={"within": within})
    if as_json:
        print_json(found)
    else:
        print_rows(_NAMES, [_name_row(each) for each in found["data"]])
        targets = [
            {"name": each["name"], **target}
            for each in found["data"]
            if each["is_alias"]
            for target in each["targets"]
        ]
        if targets:
            print_rows(_TARGETS, targets)
    if within is not None and any(goes_dark(each, within) for each in found["data"]):
        sys.exit(1)


def goes_dark(outlook: Mapping[str, Any], within: int) -> bool:
    """True for an alias that nothing serves any more in so many days."""
    days = outlook["dark_in_days"]
    return bool(outlook["is_alias"] and days is not None and days <= within)


def _name_row(outlook: Mapping[str, Any]) -> dict[str, Any]:
    then, base, move = outlook["serves_then"], outlook["base"], outlook["move"]
    row = {name: outlook[name] for name in ("name", "shutdown_date", "days", "dark_from")}
    row["then"] = "nothing" if outlook["shutdown_date"] else None
    if then is not None:
        row["then"] = f"{then['model']} at {then['upstream']} ({then['by']})"
    row["base"] = None
    if base is not None:
        row["base"] = "ends with it" if base["ends_with_it"] else f"ends {base['shutdown_date'] or 'unknown'}"
    row["move"] = None
    if move is not None:
        row["move"] = f"{move['to']} on {move['on'] or 'no known day'} ({move['state']})"
    return row
