"""The response cache's server: can it be reached, may it be filled, does it make room by itself?"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.cli.doctor_finding import Finding, ok, warn
from gateway.cli.doctor_store import permissions, round_trips
from gateway.config import Settings
from gateway.config.alias import wants_cache
from gateway.control.plane import STORE_TIMEOUT_S
from gateway.store.address import Command, parse_address
from gateway.store.client import Store
from gateway.store.errors import StoreError, StoreReplyError
from gateway.store.info import ServerFacts, server_facts
from gateway.store.keys import cache_entry
from gateway.store.places import cache_place
from gateway.supervisor.paths import embedded_cache_socket

_EVICTS = "maxmemory-policy allkeys-lru"


async def cache(settings: Settings) -> AsyncIterator[Finding]:
    """Look at the server of the response cache, where the file wants one. Nothing stays there of the check.

    Nothing here is "bad": without the cache every call is served, and only costs more.
    """
    if not wants_cache(settings.cache, settings.aliases.values()) and settings.store.cache_url is None:
        return
    place = cache_place(settings.store)
    where = str(parse_address(place.url))
    is_embedded = settings.store.cache_embedded
    if is_embedded and not _runs(settings):
        yield ok("cache", "embedded; not running now, it starts with the gateway")
        return
    client = Store(place.url, timeout_s=STORE_TIMEOUT_S)
    try:
        await client.open()
        yield ok("cache", f"{where} answers")
        try:
            yield memory(await server_facts(client), is_shared=place.is_shared)
        except (StoreReplyError, KeyError) as error:
            yield warn("cache memory", f"it does not tell of itself: {error}", "permit INFO and DBSIZE")
        yield await permissions("cache permissions", client, probes(cache_entry(secrets.token_hex(32))))
        yield latency(await round_trips(client), place.timeout_s * 1000)
    except StoreError as error:
        do = "look at cache.log in store.data_dir" if is_embedded else "start it, or mend store.cache_url"
        yield warn("cache", f"{where} cannot be used, so every call is a miss: {error}", do)
    finally:
        await client.aclose()


def _runs(settings: Settings) -> bool:
    return Path(embedded_cache_socket(settings.store.data_dir)).exists()


def memory(facts: ServerFacts, *, is_shared: bool) -> Finding:
    """Whether the server has a bound of memory, and makes room where it is reached."""
    bound = f"{facts.max_memory_bytes >> 20} MiB" if facts.max_memory_bytes else "without a bound of memory"
    said = f"{facts.policy}, {bound}"
    if is_shared:
        return warn(
            "cache memory",
            f"{said}; the server keeps the ledger too, so the cache leaves a fifth of its memory",
            "give the cache a server of its own: store.cache_url, an address or embedded"
            if facts.max_memory_bytes
            else "set maxmemory, or give the cache a server of its own: store.cache_url",
        )
    if not facts.max_memory_bytes:
        return warn("cache memory", said, f"set maxmemory and {_EVICTS}")
    if facts.policy == "noeviction":
        return warn("cache memory", f"{said}: once it is full no answer is kept", f"set {_EVICTS}")
    return ok("cache memory", said)


def probes(key: str) -> list[Command]:
    """Every command that the cache uses, on one key that is gone afterwards."""
    return [
        *(("SET", key, "1", "PX", 60_000), ("GET", key), ("MGET", key), ("EXISTS", key), ("DEL", key)),
        *(("HSET", key, "f", "1"), ("PEXPIRE", key, 60_000), ("HGET", key, "f"), ("HMGET", key, "f")),
        *(("DEL", key), ("XADD", key, "1-0", "f", "1"), ("PEXPIRE", key, 60_000)),
        *(("XRANGE", key, "-", "+", "COUNT", 1), ("XDEL", key, "1-0"), ("DEL", key)),
    ]


def latency(took_ms: list[float], timeout_ms: float) -> Finding:
    """Whether the server is near enough not to make misses of hits."""
    worst = max(took_ms)
    said = f"at most {worst:.2f} ms of {len(took_ms)}"
    if worst >= timeout_ms:
        return warn(
            "cache latency",
            f"{said}; a call waits {timeout_ms:g} ms, then it is a miss",
            "bring the cache nearer, or raise store.timeout_ms",
        )
    return ok("cache latency", said)
