"""`tunegate cache`: what the response cache holds and saved, and its purge."""

from __future__ import annotations

import click

from gateway.cli.admin_client import AdminClient, administers
from gateway.cli.output import print_fields, print_json, print_rows

_COLUMNS = [
    ("ALIAS", "alias"),
    ("REQUESTS", "requests"),
    ("HITS", "cache_hits"),
    ("SAVED USD", "saved_usd"),
]


@click.group(no_args_is_help=True)
def cache() -> None:
    """The response cache."""


@cache.command()
@click.option("--from", "start", help="Unix seconds, or a date or time of ISO 8601; 30 days ago by default.")
@click.option("--to", "end", help="The same, exclusive.")
@administers
def stats(client: AdminClient, start: str | None, end: str | None, as_json: bool) -> None:
    """Show the cache's server, this replica's hits and misses, and what was saved by alias.

    Hits and misses count from the start of the replica that is asked; the rows are from the ledger, of all
    replicas.
    """
    found = client.call("GET", "cache", query={"from": start, "to": end})
    if as_json:
        print_json(found)
        return
    print_fields({f"server {name}": value for name, value in found["server"].items()})
    print_fields(found["results"])
    print_rows(_COLUMNS, found["data"])


@cache.command()
@click.option("--alias", help="Answers of this alias.")
@click.option("--key", help="Answers kept for the key with this id, or for its team where it shares them.")
@administers
def purge(client: AdminClient, alias: str | None, key: str | None, as_json: bool) -> None:
    """Make kept answers unfindable: all, those of an alias, those of a key, or those of either.

    It takes effect at once, for all replicas.
    """
    done = client.call("POST", "cache", "purge", body={"alias": alias, "key": key})
    if as_json:
        print_json(done)
        return
    named = [f"{name} {value}" for name, value in (("alias", alias), ("key", key)) if value is not None]
    click.echo(f"purged: {' and '.join(named) or 'everything'}")
