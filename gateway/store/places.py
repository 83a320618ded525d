"""Which servers the settings name: the store's, and the response cache's."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gateway.config.static import StoreSettings
from gateway.store.address import ClusterAddress, SentinelAddress, parse_address
from gateway.supervisor.paths import embedded_cache_socket, embedded_socket


class CachePlace(NamedTuple):
    """Where the response cache is.

    Args:
        is_shared: the same server keeps the ledger too.
        timeout_s: for its client; half of what other calls get, as a call without the cache only costs more.
    """

    url: str
    is_shared: bool
    timeout_s: float


def store_url(store: StoreSettings) -> str:
    """Where the store is: as configured, or the embedded one's socket."""
    if store.embedded:
        return f"unix://{embedded_socket(Path(store.data_dir))}"
    return store.url


def cache_place(store: StoreSettings) -> CachePlace:
    """Where the response cache is: as configured, its own embedded server, or the store's server."""
    url = store.cache_url or store.url
    if store.cache_embedded:
        url = f"unix://{embedded_cache_socket(Path(store.data_dir))}"
    is_shared = not _servers(url).isdisjoint(_servers(store_url(store)))
    return CachePlace(url, is_shared, store.timeout_ms / 2000)


def _servers(url: str) -> set[tuple[str, int, str | None]]:
    """What a URL names, whatever the database: memory and eviction are the server's."""
    address = parse_address(url)
    if isinstance(address, SentinelAddress):
        return {(each.host, each.port, address.service) for each in address.sentinels}
    servers = address.seeds if isinstance(address, ClusterAddress) else (address,)
    return {(server.host, server.port, server.path) for server in servers}
