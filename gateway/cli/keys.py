"""`tunegate keys`: the virtual keys that clients are given."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import click

from gateway.cli.admin_client import AdminClient, administers
from gateway.cli.output import print_fields, print_json, print_rows

_COLUMNS = [
    ("ID", "id"),
    ("NAME", "name"),
    ("STATUS", "status"),
    ("TEAM", "team"),
    ("ALIASES", "aliases"),
    ("MODELS", "models"),
    ("CREATED", "created_at"),
    ("EXPIRES", "expires_at"),
    ("LAST USED", "last_used_at"),
]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TRAINING: dict[str, bool | str] = {"no": False, "yes": True, "all": "all"}
_LIMITS = ("rpm", "tpm", "concurrency")
_PERIODS = {"day": "a day", "month": "a month", "total": "in total"}
_WORDS = {"unlimited": None, "default": "default"}


def _later(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """The unix second that far ahead, of a text such as 30d."""
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]+)([smhd])", text)
    if not found:
        raise click.BadParameter("write a number and s, m, h or d, such as 30d")
    return int(time.time()) + int(found[1]) * _UNITS[found[2]]


def _pairs(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.BadParameter("write name=value")
        pairs[name] = value
    return pairs


def _limit(_context: click.Context, _option: click.Parameter, text: str | None) -> int | str | None:
    """A limit as text, of digits or one of the words."""
    if text is None or text in _WORDS:
        return text
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise click.BadParameter(f"write a whole number, {' or '.join(_WORDS)}")
    return int(text)


def _fields(command: Callable[..., None]) -> Callable[..., None]:
    """The options that name a key's fields, for making and for changing one."""
    options = [
        click.option("--alias", "aliases", multiple=True, help="An alias this key may use; by default all."),
        click.option(
            "--model", "models", multiple=True, help="A model id or glob it may use, or aliases-only."
        ),
        click.option(
            "--route", "routes", multiple=True, help="A route it may use, such as chat.completions."
        ),
        click.option("--rpm", callback=_limit, metavar="N", help="Requests a minute, or unlimited."),
        click.option("--tpm", callback=_limit, metavar="N", help="Tokens a minute, or unlimited."),
        click.option("--concurrency", callback=_limit, metavar="N", help="Calls at once, or unlimited."),
        click.option("--budget", metavar="USD", help="What it may spend in each --period."),
        click.option("--period", type=click.Choice(["day", "month", "total"]), help="Of --budget, in UTC."),
        click.option("--credit", "credit_usd", metavar="USD", help="Prepaid credit that it pays from."),
        click.option(
            "--max-output-tokens", type=click.IntRange(min=1), help="Cap on the output of each call."
        ),
        click.option("--team", help="Whose key it is."),
        click.option("--training", type=click.Choice(list(_TRAINING)), help="Files and fine-tuning jobs."),
        click.option("--may-pin/--no-may-pin", default=None, help="May name its upstream itself."),
        click.option("--expires-at", type=int, metavar="UNIX", help="When it ends, in unix seconds."),
        click.option(
            "--expires-in", callback=_later, metavar="TIME", help="When it ends, such as 30d or 12h."
        ),
        click.option(
            "--metadata", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="Notes of yours."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(no_args_is_help=True)
def keys() -> None:
    """Virtual keys: what clients of the gateway are given."""


@keys.command()
@click.argument("name")
@_fields
@administers
def create(client: AdminClient, name: str, as_json: bool, **options: Any) -> None:
    """Make a key. It is shown this once."""
    answer = client.call("POST", "keys", body={"name": name, **_given(options)})
    _print_issued(answer, as_json=as_json)


@keys.command("list")
@click.option(
    "--status", type=click.Choice(["active", "expired", "revoked", "all"]), help="By default not revoked."
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, newest first.")
@administers
def list_keys(client: AdminClient, status: str | None, limit: int | None, as_json: bool) -> None:
    """List keys, newest first."""
    found = client.listed("keys", query={"status": status}, limit=limit)
    if as_json:
        print_json(found)
    else:
        print_rows(_COLUMNS, found["data"])


@keys.command()
@click.argument("id")
@administers
def show(client: AdminClient, as_json: bool, **argument: str) -> None:
    """Show one key by its ID, without its secret."""
    _print_key(client.call("GET", "keys", argument["id"]), as_json=as_json)


@keys.command()
@click.argument("id")
@click.option("--name", help="Its new name.")
@_fields
@click.option(
    "--unrestrict",
    type=click.Choice(
        [*("aliases", "models", "routes", "team", "expires_at"), *("budget", "credit", "max_output_tokens")]
    ),
    multiple=True,
    help="Lift this restriction.",
)
@administers
def update(
    client: AdminClient, name: str | None, unrestrict: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Change the given fields of a key; the others stay."""
    key_id = options.pop("id")
    lifted = ("credit_usd" if name == "credit" else name for name in unrestrict)
    changes = {**_given({"name": name, **options}), **dict.fromkeys(lifted)}
    if not changes:
        raise click.UsageError("nothing to change was given.")
    _print_key(client.call("PATCH", "keys", key_id, body=changes), as_json=as_json)


@keys.command()
@click.argument("id")
@click.option(
    "--grace-s", type=click.IntRange(min=0), default=0, help="Seconds that the old secret works on."
)
@administers
def rotate(client: AdminClient, grace_s: int, as_json: bool, **argument: str) -> None:
    """Give a key a new secret, shown this once."""
    answer = client.call("POST", "keys", argument["id"], "rotate", body={"grace_s": grace_s})
    _print_issued(answer, as_json=as_json)


@keys.command()
@click.argument("id")
@administers
def revoke(client: AdminClient, as_json: bool, **argument: str) -> None:
    """Revoke a key for good."""
    answer = client.call("DELETE", "keys", argument["id"])
    if as_json:
        print_json(answer)
    else:
        click.echo(f"revoked {answer['id']}")


@keys.command(context_settings={"ignore_unknown_options": True})  # so that -5 is an amount
@click.argument("id")
@click.argument("usd")
@click.option("--note", help="Why.")
@administers
def credit(client: AdminClient, usd: str, note: str | None, as_json: bool, **argument: str) -> None:
    """Grant prepaid credit to a key, or take it back by a negative amount.

    A key that had none pays from it from then on.
    """
    body = {"usd": usd, "note": note}
    _print_key(client.call("POST", "keys", argument["id"], "credit", body=body), as_json=as_json)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as fields of the API."""
    fields = {name: value for name, value in options.items() if value not in (None, (), {})}
    for name in ("aliases", "models", "routes"):
        if name in fields:
            fields[name] = list(fields[name])
    if fields.get("models") == ["aliases-only"]:
        fields["models"] = "aliases-only"
    if "training" in fields:
        fields["training"] = _TRAINING[fields["training"]]
    if "expires_in" in fields:
        fields["expires_at"] = fields.pop("expires_in")
    limits = {name: fields.pop(name) for name in _LIMITS if name in fields}
    if limits:
        fields["limits"] = {name: _WORDS.get(limit, limit) for name, limit in limits.items()}
    if ("budget" in fields) != ("period" in fields):
        raise click.UsageError("--budget and --period go together.")
    if "budget" in fields:
        fields["budget"] = {"usd": fields["budget"], "period": fields.pop("period")}
    return fields


def _print_issued(key: dict[str, Any], *, as_json: bool) -> None:
    _print_key(key, as_json=as_json)
    if not as_json:
        click.echo("Keep the key now: it is not shown again.", err=True)


def _print_key(key: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(key)
    else:
        print_fields(_for_people(key))


def _for_people(key: dict[str, Any]) -> dict[str, Any]:
    """The fields of a key or of its credit, without what says the same twice."""
    fields: dict[str, Any] = {}
    for name, value in key.items():
        if name == "effective_limits":
            for limit, bound in value.items():
                text = "unlimited" if bound is None else str(bound)
                fields[limit] = text if limit in key["limits"] else f"{text} (default)"
        elif name == "budget" and value is not None:
            fields[name] = f"{value['usd']} USD {_PERIODS[value['period']]}"
        elif name not in ("object", "limits") and not name.endswith("_nanousd"):
            fields[name] = value
    return fields
