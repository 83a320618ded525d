"""`tunegate upstreams`: who could serve, and what each does not take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.admin_client import AdminClient, administers
from gateway.cli.output import print_json, print_rows, printable
from gateway.cli.progress import progress

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


@upstreams.command("probe")
@click.argument("name")
@click.option("--model", metavar="ID", help="Model to ask; by default one that it serves.")
@click.option("--yes", is_flag=True, help="Do not ask before the calls are made.")
@administers
def probe(client: AdminClient, name: str, model: str | None, yes: bool, as_json: bool) -> None:
    """Find out what NAME does not take, by some thirty short calls, and print the lines to set.

    What it costs at most is shown first. Nothing is changed: the lines are yours to write.
    """
    path = ("upstreams", name, "probe")
    planned = client.call("POST", *path, body={"model": model, "dry_run": True})
    if not yes:
        click.echo(_cost_line("This takes at most", planned["estimate"], planned["model"]), err=True)
        click.confirm("Go on?", abort=True, err=True)
    with progress(f"asking {printable(name)}", None):
        found = client.call("POST", *path, body={"model": planned["model"]}, is_long=True)
    if as_json:
        print_json(found)
        return
    for finding in found["findings"]:
        click.echo(printable(f"# {finding['says']}{' (set already)' if finding['is_set'] else ''}"))
    for note in found["notes"]:
        click.echo(printable(f"# {note}"))
    for unknown in found["unknown"]:
        click.echo(printable(f"# not known: {unknown['setting']}: {unknown['why']}"))
    click.echo(found["yaml"] or "# Nothing to set.", nl=not found["yaml"])
    click.echo(_cost_line("It took", found["spent"], found["model"]), err=True)


def _cost_line(begins: str, cost: Mapping[str, Any], model: str) -> str:
    tokens = "an unknown number of tokens"
    if cost["prompt_tokens"] is not None:
        tokens = f"{cost['prompt_tokens']} prompt and {cost['completion_tokens']} completion tokens"
    usd = "an unknown price" if cost["cost_usd"] is None else f"{cost['cost_usd']} USD"
    return f"{begins} {cost['calls']} calls of {printable(model)}, {tokens}: {usd}."
