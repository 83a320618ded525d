"""Is a port free? Asked before anything starts, since the answer is the commonest first disappointment."""

from __future__ import annotations

import errno
import socket


class PortTaken(Exception):
    """Something listens there already; the text says what to do."""


def check_free(host: str, port: int, option: str) -> None:
    """Raise `PortTaken` where the port is in use; other troubles are left to who will listen in earnest."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} on {host} is taken, perhaps by another `dev.py run`. "
                f"Stop what listens there, or choose another port: {option} 0 takes any free one."
            ) from error
