"""The two listening sockets.

They are bound once and live as long as the supervisor, so that no restart of a child refuses a connection:
while nobody accepts, the kernel queues.
"""

from __future__ import annotations

import os
import socket
import sys

from gateway.supervisor.spec import Address

BACKLOG = 4096  # connections the kernel keeps while workers are replaced; it caps this at net.core.somaxconn

UNSENT_BYTES = 128 * 1024
"""What the kernel takes for a client that does not read; else it takes megabytes, seen in no process."""

UNSENT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)


class CannotListen(Exception):
    """An address is taken, not ours, or unknown; the text names it and the setting it came from."""


def listen(address: Address, setting: str) -> socket.socket:
    """Bind and listen, non-blocking. `setting` is the name of the configuration block, for the message.

    Raises `CannotListen`.
    """
    try:
        info = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, where = info[0]
        both = family == socket.AF_INET6 and address.host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(where[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        reason = error.strerror if error.errno is None or error.errno < 0 else os.strerror(error.errno)
        raise CannotListen(f"cannot listen on {_joined(address)} ({setting}): {reason}") from error
    listener.setblocking(False)
    if UNSENT is not None:  # connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, UNSENT, UNSENT_BYTES)
    return listener


def url(listener: socket.socket) -> str:
    """The address really bound, as `http://host:port`."""
    host, port = listener.getsockname()[:2]
    return f"http://{_joined(Address(host, port))}"


def _joined(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"
