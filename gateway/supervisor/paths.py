"""Where things of the embedded store are: one answer for the supervisor and for the store's clients."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def embedded_socket(data_dir: Path) -> str:
    """The unix socket of the embedded store of `data_dir`: the same for every gateway on that folder.

    It does not stand in the folder, because a socket's path may have 107 bytes at most (unix(7)) and a
    folder's has no such bound. `/tmp` is preferred to `TMPDIR` so that gateways with different
    environments meet. Computes only; `gateway.supervisor.store` makes the directory and checks its owner.
    """
    temporary = "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108 - the directory inside is ours, mode 700, and checked
    name = hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()[:12]
    return f"{temporary}/tunegate-{os.getuid()}/{name}.sock"
