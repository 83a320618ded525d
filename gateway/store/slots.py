"""Which node of a cluster holds what: pure reading of commands, maps and redirections.

The rules are those of the cluster specification of Redis and Valkey.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.store.address import Command

__all__ = [
    "SLOTS",
    "Node",
    "Redirection",
    "SlotMap",
    "read_map",
    "read_redirection",
    "slot_of",
    "slot_of_key",
]

SLOTS = 16384

Node = tuple[str, int]
"""Host and port, as the cluster names them."""

# Where a command's first key stands, if not at 1. One that is missing here still works: the node it is sent
# to redirects it.
_KEY_AT: Mapping[str | bytes | int, int] = {
    "EVALSHA": 3,
    "EVAL": 3,
    "OBJECT": 2,
    "XGROUP": 2,
    "XINFO": 2,
}

_REDIRECTION = re.compile(r"(MOVED|ASK) (\d+) ([^?\s]*):(\d+)")


@dataclass(frozen=True, slots=True)
class SlotMap:
    """What one node believes.

    Args:
        owners: each primary's slots, as first and last of a range. Not all slots must have one.
        epoch: grows with every failover and every moved slot; of two maps the larger one is newer.
        is_ok: whether that node serves calls (`cluster_state`).
    """

    owners: Mapping[Node, list[tuple[int, int]]]
    epoch: int
    is_ok: bool


@dataclass(frozen=True, slots=True)
class Redirection:
    """`node` holds the slot now (MOVED), or just for one call (ASK)."""

    slot: int
    node: Node
    is_ask: bool


def slot_of(command: Command) -> int | None:
    """The slot of a command's first key, None for a command without arguments.

    Where the first argument is no key, as in `CONFIG GET`, the answer means nothing and does no harm.
    """
    at = _KEY_AT.get(command[0], 1)
    if len(command) <= at:
        return None
    return slot_of_key(command[at])


def slot_of_key(key: str | bytes | int) -> int:
    """The slot of a key, or of its hash tag: what the first `{` and the next `}` enclose, if anything."""
    text = key if type(key) is bytes else str(key).encode()
    start = text.find(b"{") + 1
    end = text.find(b"}", start) if start else 0
    return crc_hqx(text[start:end] if end > start else text, 0) % SLOTS


def read_map(info: bytes, slots: list[Any], asked: str) -> SlotMap:
    """Read CLUSTER INFO and CLUSTER SLOTS, as the node at host `asked` gave them."""
    facts = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    owners: dict[Node, list[tuple[int, int]]] = {}
    for first, last, primary, *_ in slots:
        host, port = primary[0], primary[1]
        if host != b"?":  # a node that has not told its name yet
            owners.setdefault((host.decode() if host else asked, port), []).append((first, last))
    return SlotMap(owners, int(facts["cluster_current_epoch"]), facts["cluster_state"] == "ok")


def read_redirection(message: str, asked: str) -> Redirection | None:
    """Read `MOVED 3999 127.0.0.1:6381`, or an ASK, from the node at host `asked`.

    None for any other message, and where the server does not know itself who is there ("?").
    """
    found = _REDIRECTION.match(message)
    if found is None:
        return None
    kind, slot, host, port = found.groups()
    return Redirection(int(slot), (host or asked, int(port)), is_ask=kind == "ASK")
