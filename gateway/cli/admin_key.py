"""`tunegate admin-key`: for who has lost the admin key but holds the configuration file."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from gateway.cli.output import print_json
from gateway.cli.serve import checked, overrides_of
from gateway.config import ConfigError
from gateway.control.admin_key import configured_admin_key, new_admin_key
from gateway.control.plane import STORE_TIMEOUT_S
from gateway.store.client import Store
from gateway.store.errors import StoreError
from gateway.store.places import store_url
from gateway.store.secret_repository import SecretRepository


@click.group("admin-key", no_args_is_help=True)
def admin_key() -> None:
    """The key that opens the control plane."""


@admin_key.command()
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The gateway's configuration file, which says where its store is.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The embedded store's folder, where the gateway was started with this option.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reset(path: Path, data_dir: Path | None, as_json: bool) -> None:
    """Make a new admin key, shown this once. The old one ends within a second.

    An embedded store must be running, so the gateway must be.
    """
    try:
        _, settings = checked(path, overrides_of(None, None, data_dir), os.environ)
    except ConfigError as refused:
        for problem in refused.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)
    key = new_admin_key()
    try:
        asyncio.run(_replace(store_url(settings.store), key))
    except StoreError as error:
        hint = " Its store is embedded: start the gateway first." if settings.store.embedded else ""
        raise click.ClickException(f"the store cannot be reached: {error}.{hint}") from error
    if as_json:
        print_json({"admin_key": key})
    else:
        click.echo(f"admin key: {key}")
    if configured_admin_key(os.environ) is not None:
        click.echo("TUNEGATE_ADMIN_KEY is set here; a gateway that has it set heeds only that one.", err=True)


async def _replace(url: str, key: str) -> None:
    store = Store(url, timeout_s=STORE_TIMEOUT_S)
    try:
        await store.open()
        await SecretRepository(store).replace_admin_key(key)
    finally:
        await store.aclose()
