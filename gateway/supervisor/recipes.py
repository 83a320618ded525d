"""What sets the embedded servers of a data folder apart: the store, which forgets nothing, and the cache."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway.supervisor.paths import embedded_cache_socket, embedded_socket


@dataclass(frozen=True)
class Recipe:
    """One server.

    Args:
        name: of the process, and of its lock and its log in the folder.
        data_dir: the folder, which need not be there yet.
        socket: the unix socket that it listens on.
        its_own: options of the server beyond those that all have.
        variables: of its environment, where ours does not set them.
    """

    name: Literal["store", "cache"]
    data_dir: Path
    socket: str
    its_own: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def lock(self) -> Path:
        """Held by its owner and by the server itself."""
        return self.data_dir / f"{self.name}.lock"

    @property
    def log(self) -> Path:
        """What it writes about itself."""
        return self.data_dir / f"{self.name}.log"

    @property
    def options(self) -> dict[str, str]:
        """All options of its command line."""
        return {
            "port": "0",  # no TCP: the directory of the socket decides who may come
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "logfile": str(self.log),
            "daemonize": "no",
            "save": "",
            **self.its_own,
        }

    @property
    def environment(self) -> dict[str, str]:
        """All of its environment."""
        return {**self.variables, **os.environ}


def store_recipe(data_dir: Path, durability: Literal["always", "everysec"]) -> Recipe:
    """The store: all of it is on disk, and nothing is ever evicted."""
    its_own = {
        "appendonly": "yes",
        "appendfsync": durability,
        "aof-load-truncated": "yes",  # a kill in the middle of a write must not stop the next start
        "maxmemory-policy": "noeviction",
    }
    # What a script writes is kept for the file until it ends, and freed all at once: many more blocks than
    # the 7 of a size that glibc has at hand by itself (its manual, "Memory Allocation Tunables"). With room
    # for them a call costs the server 3 % less, for 2 MB; other C libraries do not look.
    variables = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=100"}
    return Recipe("store", data_dir, embedded_socket(data_dir), its_own, variables)


def cache_recipe(data_dir: Path, memory_bytes: int) -> Recipe:
    """The response cache: in memory only, and what was not used for longest goes when that is full."""
    its_own = {
        "appendonly": "no",
        "dbfilename": "cache.rdb",  # never written; a dump of the store's that lies there is not read
        "maxmemory": str(memory_bytes),
        "maxmemory-policy": "allkeys-lru",
    }
    return Recipe("cache", data_dir, embedded_cache_socket(data_dir), its_own)
