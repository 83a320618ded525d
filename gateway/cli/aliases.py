"""`tunegate aliases`: names that outlive the models behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gateway.cli.admin_client import AdminClient, administers
from gateway.cli.output import print_fields, print_json, print_rows

_COLUMNS = [
    ("NAME", "name"),
    ("MODEL", "model"),
    ("UPSTREAMS", "upstreams"),
    ("FALLBACKS", "fallbacks"),
    ("REVISION", "revision"),
    ("AUTHOR", "author"),
    ("UPDATED", "updated_at"),
]
_HISTORY = [
    ("REVISION", "revision"),
    ("MODEL", "model"),
    ("UPSTREAMS", "upstreams"),
    ("FALLBACKS", "fallbacks"),
    ("DELETED", "deleted"),
    ("AUTHOR", "author"),
    ("UPDATED", "updated_at"),
]
_author = click.option("--author", help="Who makes this change, for the history.")


@click.group(no_args_is_help=True)
def aliases() -> None:
    """Aliases: the names that clients send as `model`."""


@aliases.command("list")
@administers
def list_aliases(client: AdminClient, as_json: bool) -> None:
    """List aliases by name."""
    found = client.listed("aliases")
    if as_json:
        print_json(found)
    else:
        print_rows(_COLUMNS, [_row(alias) for alias in found["data"]])


@aliases.command()
@click.argument("name")
@administers
def show(client: AdminClient, name: str, as_json: bool) -> None:
    """Show one alias."""
    _print_alias(client.call("GET", "aliases", name), as_json=as_json)


@aliases.command("set")
@click.argument("name")
@click.option("--model", help="The model id to serve.")
@click.option("--upstream", "upstreams", multiple=True, help="An upstream, tried in the order given.")
@click.option("--fallback", "fallbacks", multiple=True, help="A model id, an alias or `base`; in order.")
@click.option("--rewrite", help="Name of the rewrite that the model needs.")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="The whole block as YAML or JSON, as it stands in the configuration file; - reads it from stdin.",
)
@_author
@administers
def set_alias(
    client: AdminClient, name: str, path: Path | None, author: str | None, as_json: bool, **options: Any
) -> None:
    """Make NAME mean something else: the whole block, not a part of it."""
    given = {field: _plain(value) for field, value in options.items() if value}
    if path is None and "model" not in given:
        raise click.UsageError("give --model, or the whole block with --file.")
    if path is not None and given:
        raise click.UsageError("--file gives the whole block: no other option goes with it.")
    block = given if path is None else _read_block(path)
    _print_alias(client.call("PUT", "aliases", name, body=block, author=author), as_json=as_json)


@aliases.command()
@click.argument("name")
@click.argument("revision", type=click.IntRange(min=1))
@_author
@administers
def rollback(client: AdminClient, name: str, revision: int, author: str | None, as_json: bool) -> None:
    """Make the block of an older REVISION of NAME the newest one."""
    answer = client.call("POST", "aliases", name, "rollback", body={"revision": revision}, author=author)
    _print_alias(answer, as_json=as_json)


@aliases.command()
@click.argument("name")
@administers
def history(client: AdminClient, name: str, as_json: bool) -> None:
    """List the revisions of NAME, newest first."""
    found = client.listed("aliases", name, "revisions")
    if as_json:
        print_json(found)
    else:
        print_rows(_HISTORY, [_row(revision) for revision in found["data"]])


def _print_alias(alias: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(alias)
    else:
        print_fields({field: value for field, value in alias.items() if field != "object"})


def _row(alias: dict[str, Any]) -> dict[str, Any]:
    fallbacks = [_target(fallback) for fallback in alias.get("fallbacks", [])]
    upstreams = alias.get("upstreams")
    if isinstance(upstreams, dict):
        upstreams = [f"{name} {weight}" for name, weight in upstreams.items()]
    return {**alias, "fallbacks": fallbacks or None, "upstreams": upstreams}


def _target(fallback: Any) -> str:
    return str(fallback["model"]) if isinstance(fallback, dict) else str(fallback)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read_block(path: Path) -> Any:
    import yaml  # noqa: PLC0415  # only this option needs it

    with click.open_file(str(path), encoding="utf-8") as file:
        try:
            return yaml.safe_load(file)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{path} is neither YAML nor JSON: {error}") from error
