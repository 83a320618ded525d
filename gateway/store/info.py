"""What a server says of itself."""

from __future__ import annotations

from typing import NamedTuple

from gateway.store.client import Store
from gateway.store.errors import StoreReplyError


class ServerFacts(NamedTuple):
    """Memory of one server. `max_memory_bytes` 0 = no bound; `keys` are of the database in use."""

    keys: int
    memory_bytes: int
    max_memory_bytes: int
    policy: str
    evicted_keys: int


def read_info(text: bytes) -> dict[str, str]:
    """INFO's lines by name."""
    pairs = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in pairs}


async def server_facts(store: Store) -> ServerFacts:
    """Ask the server. Raises `StoreAway`, and `StoreReplyError` where it does not tell."""
    replies = await store.call_many([("INFO", "memory"), ("INFO", "stats"), ("DBSIZE",)])
    for reply in replies:
        if isinstance(reply, StoreReplyError):
            raise reply
    memory, stats, keys = replies
    info = read_info(memory) | read_info(stats)
    return ServerFacts(
        keys=keys,
        memory_bytes=int(info["used_memory"]),
        max_memory_bytes=int(info["maxmemory"]),
        policy=info["maxmemory_policy"],
        evicted_keys=int(info["evicted_keys"]),
    )
