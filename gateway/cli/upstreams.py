"""`tunegate upstreams`: who could serve."""

from __future__ import annotations

import click

from gateway.cli.admin_client import AdminClient, administers
from gateway.cli.output import print_json, print_rows

_COLUMNS = [
    ("NAME", "name"),
    ("KIND", "kind"),
    ("BASE URL", "base_url"),
    ("STATE", "state"),
    ("CREDENTIALS", "credentials"),
    ("BREAKER", "breaker"),
    ("MODELS", "models"),
    ("IN FLIGHT", "in_flight"),
]


@click.group(no_args_is_help=True)
def upstreams() -> None:
    """Upstreams: the remote services that serve models."""


@upstreams.command("list")
@administers
def list_upstreams(client: AdminClient, as_json: bool) -> None:
    """List upstreams and how they are."""
    found = client.listed("upstreams")
    if as_json:
        print_json(found)
        return
    rows = [
        {
            **upstream,
            "credentials": [f"{each['n']} {each['state']}" for each in upstream["credentials"]] or None,
            "models": len(upstream["models"]),
        }
        for upstream in found["data"]
    ]
    print_rows(_COLUMNS, rows)
