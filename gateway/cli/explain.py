"""`tunegate explain`: what a call would do now."""

from __future__ import annotations

import click

from gateway.cli.admin_client import AdminClient, administers
from gateway.cli.output import print_fields, print_json, print_rows

_ATTEMPTS = [
    ("N", "n"),
    ("UPSTREAM", "upstream"),
    ("MODEL", "model"),
    ("REWRITE", "rewrite"),
    ("USD IN", "input"),
    ("CACHED", "cached_input"),
    ("OUT", "output"),
    ("SHUTDOWN", "shutdown_date"),
]
_LEFT_OUT = [("LEFT OUT", "upstream"), ("MODEL", "model"), ("REASON", "reason"), ("DETAIL", "detail")]


@click.command()
@click.argument("model")
@click.option("--key", metavar="ID", help="The call of this key's holder; by default of anyone.")
@administers
def explain(client: AdminClient, model: str, key: str | None, as_json: bool) -> None:
    """Show what a call of MODEL (an alias or a model id) would do now, and why."""
    found = client.call("GET", "explain", query={"model": model, "key": key})
    if as_json:
        print_json(found)
        return
    print_fields({name: found[name] for name in ("requested", "alias", "release")})
    print_rows(_ATTEMPTS, [{**each, **(each["price_usd_per_million"] or {})} for each in found["attempts"]])
    if not found["attempts"]:
        click.echo("No upstream would be tried now.", err=True)
    if found["left_out"]:
        print_rows(_LEFT_OUT, found["left_out"])
