"""`tunegate serve`: check the configuration, write down what to run, become the supervisor."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.catalog.advice import advise
from gateway.config import ConfigError, Settings, load, load_file
from gateway.config.alias import wants_cache
from gateway.config.providers import providers_python
from gateway.control.active_text import Overrides, with_overrides, write_atomically
from gateway.supervisor.signals import hold_back

_LONGEST_FOLDER = 80  # of the 107 bytes that a unix socket's path may have


@click.command()
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Data plane, in place of server.port.")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Control plane, in place of admin.port.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The embedded store's folder, in place of store.data_dir.",
)
def serve(path: Path, port: int | None, admin_port: int | None, data_dir: Path | None) -> None:
    """Run a gateway until it is told to stop.

    SIGTERM drains it, SIGINT skips the grace, SIGHUP reads the configuration again, SIGUSR1 replaces the
    workers one by one.
    """
    overrides = overrides_of(port, admin_port, data_dir)
    try:
        text, settings = checked(path, overrides, os.environ)
    except ConfigError as refused:
        for problem in refused.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)
    for problem in advise(settings):
        click.echo(f"warning: {problem}", err=True)
    spec_path = prepare(path, text, settings, overrides)
    # A folder that happens to hold something called `gateway` must not become part of it.
    os.environ["PYTHONSAFEPATH"] = "1"
    hold_back()
    os.execv(sys.executable, [sys.executable, "-m", "gateway.supervisor", str(spec_path)])  # noqa: S606  # our own program


def overrides_of(port: int | None, admin_port: int | None, data_dir: Path | None) -> Overrides:
    """What the command line sets in place of the file."""
    given: dict[str, dict[str, str | int]] = {}
    if port is not None:
        given["server"] = {"port": port}
    if admin_port is not None:
        given["admin"] = {"port": admin_port}
    if data_dir is not None:
        given["store"] = {"data_dir": str(data_dir.absolute())}
    return given


def checked(path: Path, overrides: Overrides, environment: Mapping[str, str]) -> tuple[str, Settings]:
    """The text that will be in force, and its settings. Raises `ConfigError` with the file's own lines."""
    settings = load_file(path, environment)
    text = with_overrides(path.read_text("utf-8"), overrides)
    if overrides:
        settings = load(text, base=path.absolute().parent, env=environment, name=str(path))
    return text, settings


def prepare(path: Path, text: str, settings: Settings, overrides: Overrides) -> Path:
    """Make the runtime directory of a gateway and return its spec's path; the supervisor removes both."""
    folder = tempfile.gettempdir()
    runtime = Path(
        tempfile.mkdtemp(prefix="tunegate-", dir=folder if len(folder) <= _LONGEST_FOLDER else "/tmp")  # noqa: S108  # made with mode 700
    )
    write_atomically(runtime / "active.yaml", text)
    spec_path = runtime / "spec.json"
    write_atomically(spec_path, json.dumps(spec_of(path, runtime, settings, overrides)))
    return spec_path


def spec_of(path: Path, runtime: Path, settings: Settings, overrides: Overrides) -> dict[str, Any]:
    """What the supervisor is asked to run; the control process reads `overrides`."""
    server, store = settings.server, settings.store
    return {
        "config_path": str(path.absolute()),
        "runtime_dir": str(runtime),
        "data": {"host": server.host, "port": server.port},
        "admin": {"host": settings.admin.host, "port": settings.admin.port},
        "workers": server.workers,
        "store": {
            "embedded": store.embedded,
            "data_dir": str(store.data_dir),
            "durability": store.durability,
        },
        "cache": {
            "is_wanted": wants_cache(settings.cache, settings.aliases.values()),
            "memory_bytes": store.cache_memory_bytes,
        }
        if store.cache_embedded
        else None,
        "demo": any(upstream.kind == "demo" for upstream in settings.upstreams.values()),
        "providers": _providers(settings),
        "drain_grace_s": server.drain_grace_s,
        "drain_timeout_s": server.drain_timeout_s,
        "health": {
            "unresponsive_s": server.worker_unresponsive_s,
            "memory_bytes": server.worker_memory_limit_bytes,
            "open_files": server.worker_max_open_files,
        },
        "overrides": overrides,
    }


def _providers(settings: Settings) -> str | None:
    """The interpreter of the provider process, where an enabled upstream needs that."""
    if not any(upstream.kind == "litellm" and upstream.enabled for upstream in settings.upstreams.values()):
        return None
    python = providers_python(os.environ)
    return str(python) if python else None
