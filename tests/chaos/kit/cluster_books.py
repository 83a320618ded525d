"""The books of gateways whose store is a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import redis

from tests.chaos.kit.books import Books
from tests.support.valkey_cluster import ValkeyCluster


class ClusterBooks(Books):
    """Reads a cluster, and the journals of all the gateways on it."""

    def __init__(self, cluster: ValkeyCluster, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._redis = redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[-1].port)

    def journals(self) -> list[str]:
        """The journals that are not replayed yet."""
        return sorted(path.name for folder in self._folders for path in folder.glob("journal/*.journal*"))
