"""The store: can it be reached, is it new enough, does it keep what it is given, may we do what we must?"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from gateway.cli.doctor_finding import Finding, bad, ok, warn
from gateway.config import Settings
from gateway.control.plane import STORE_TIMEOUT_S
from gateway.store.address import ClusterAddress, Command, parse_address
from gateway.store.client import Store
from gateway.store.errors import StoreError, StoreReplyError
from gateway.store.info import read_info
from gateway.store.keys import ADMIN, CATALOG_EPOCH, KEYS_INDEX, PROCESSES, SECRET, mark
from gateway.store.places import store_url
from gateway.store.scripts import Script
from gateway.supervisor.paths import embedded_socket

OLDEST = (6, 2)
"""The first Redis that has all commands; Valkey says 7.2 of itself."""

MOST_SKEW_S = 2.0
_PINGS = 20
_PLACES = (KEYS_INDEX, SECRET, ADMIN, PROCESSES, CATALOG_EPOCH)
"""One key of each kind, besides those of the shards."""

_SCRIPT = Script.of("doctor", "return redis.call('TIME')")


async def store(settings: Settings) -> AsyncIterator[Finding]:
    """Look at the store that `settings` name. What is written there goes away with the check."""
    if settings.store.embedded and not _runs(settings):
        yield ok("store", "embedded; not running now, it starts with the gateway")
        return
    url = store_url(settings.store)
    where = str(parse_address(url))
    client = Store(url, timeout_s=STORE_TIMEOUT_S)
    try:
        await client.open()
        yield ok("store", f"{where} answers")
        async for finding in _of_a_store(client, settings):
            yield finding
    except StoreError as error:
        yield bad(
            "store",
            f"{where} cannot be used: {error}",
            "start it, or mend store.url: its address, port, password, certificates",
        )
    finally:
        await client.aclose()


def _runs(settings: Settings) -> bool:
    return Path(embedded_socket(settings.store.data_dir)).exists()


async def _of_a_store(client: Store, settings: Settings) -> AsyncIterator[Finding]:
    try:
        texts = [await client.call("INFO", section) for section in ("server", "persistence", "memory")]
    except StoreReplyError as error:
        yield warn(
            "store server",
            f"it does not tell of itself: {error}",
            "permit INFO to see its version, persistence and eviction policy here",
        )
    else:
        for finding in server(read_info(b"\n".join(texts))):
            yield finding
    key = mark("00", f"doctor-{secrets.token_hex(8)}")
    needed = needs(key, waits=settings.store.wait_replicas > 0)
    yield await permissions("store permissions", client, needed)
    if settings.store.wait_replicas:
        is_cluster = isinstance(parse_address(store_url(settings.store)), ClusterAddress)
        found = await _fewest_replicas(client, is_cluster=is_cluster)
        yield replicas(found, settings.store.wait_replicas)
    yield latency(await round_trips(client), settings.store.timeout_ms)
    seconds, micros = await client.call("TIME")
    yield skew("store clock", int(seconds) + int(micros) / 1e6 - time.time(), MOST_SKEW_S)


def server(info: Mapping[str, str]) -> Iterator[Finding]:
    """What a server says of itself."""
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else None
    said = info.get("redis_version", "0")
    version = tuple(int(part) for part in said.split(".")[:2] if part.isdigit())
    if version < OLDEST:
        yield bad("store version", f"Redis {said}", "use Valkey, or Redis from 6.2 on")
    else:
        yield ok("store version", name or f"Redis {said}")
    if info.get("aof_enabled") == "1":
        failed = info.get("aof_last_write_status", "ok") != "ok"
        if failed:
            yield bad("store persistence", "its last write to disk failed", "look at its disk and its log")
        else:
            yield ok("store persistence", "append-only file")
    else:
        yield warn(
            "store persistence",
            "no append-only file: a crash loses keys, limits and usage since its last snapshot",
            "set appendonly yes",
        )
    policy = info.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        yield ok("store eviction", policy)
    elif info.get("maxmemory") == "0":
        yield warn(
            "store eviction", f"{policy}, without a bound of memory yet", "set maxmemory-policy noeviction"
        )
    else:
        yield bad(
            "store eviction",
            f"{policy}: keys, budgets and records may vanish when memory is short",
            "set maxmemory-policy noeviction",
        )


def probes(key: str) -> list[Command]:
    """Every command that the gateway's scripts and readers use, on one key that is gone afterwards."""
    return [
        *(("SET", key, "1", "PX", 60_000), ("GET", key), ("EXISTS", key), ("PTTL", key), ("INCR", key)),
        *(("DEL", key), ("HSET", key, "f", "1"), ("PEXPIRE", key, 60_000), ("HGET", key, "f")),
        *(("HMGET", key, "f"), ("HGETALL", key), ("HKEYS", key), ("HEXISTS", key, "f"), ("HSCAN", key, 0)),
        *(("HINCRBY", key, "f", 1), ("HDEL", key, "f"), ("DEL", key), ("ZADD", key, 1, "m")),
        *(("PEXPIRE", key, 60_000), ("ZSCORE", key, "m"), ("ZMSCORE", key, "m"), ("ZCARD", key)),
        *(("ZRANGE", key, 0, 1), ("ZRANGEBYSCORE", key, 0, 1), ("ZREVRANGE", key, 0, 1)),
        *(("ZREVRANK", key, "m"), ("ZREMRANGEBYSCORE", key, 5, 6), ("ZREM", key, "m"), ("DEL", key)),
        *(("XADD", key, "*", "f", "1"), ("PEXPIRE", key, 60_000), ("XRANGE", key, "-", "+", "COUNT", 1)),
        *(("XREVRANGE", key, "+", "-", "COUNT", 1), ("XINFO", "STREAM", key), ("XTRIM", key, "MINID", 1)),
        *(
            ("XDEL", key, "1-0"),
            ("DEL", key),
            ("RPUSH", key, "1"),
            ("PEXPIRE", key, 60_000),
            ("LRANGE", key, 0, 1),
        ),
        *(("LLEN", key), ("DEL", key)),
    ]


def needs(key: str, *, waits: bool) -> list[Command]:
    """What the gateway's user must be permitted (`config/store.acl`): `probes`, and every kind of keys.

    Args:
        waits: settlements wait for replicas.
    """
    places: list[Command] = [("EXISTS", place) for place in _PLACES]
    return [*probes(key), *places, *([("WAIT", 0, 1)] if waits else [])]


async def permissions(check: str, client: Store, commands: Sequence[Command]) -> Finding:
    """Whether the server runs these commands for us, and a script on the first one's key too."""
    replies = await client.call_many(commands)
    refused = {
        " ".join(map(str, command[: 1 + (command[1] in _PLACES)])): reply
        for command, reply in zip(commands, replies, strict=True)
        if isinstance(reply, StoreReplyError)
    }
    try:
        await client.script(_SCRIPT, [str(commands[0][1])], [])
    except StoreReplyError as error:
        refused["EVALSHA, SCRIPT LOAD"] = error
    if not refused:
        return ok(check, "all commands that are needed")
    return bad(
        check,
        f"refused: {', '.join(refused)} ({next(iter(refused.values()))})",
        "permit what config/store.acl permits; writes need a primary that can take them",
    )


async def _fewest_replicas(client: Store, *, is_cluster: bool) -> int | None:
    """How many replicas the primary has that has the fewest; None where we may not know."""
    try:
        if is_cluster:
            ranges = await client.call("CLUSTER", "SLOTS")
            return min(len(nodes) - 1 for _, _, *nodes in ranges)
        said = read_info(await client.call("INFO", "replication"))
    except StoreReplyError:
        return None
    return int(said.get("connected_slaves", "0"))


def replicas(found: int | None, wanted: int) -> Finding:
    """Whether there are as many replicas as settlements wait for."""
    if found is None:
        return warn("store replicas", "it does not tell of them", "permit INFO and CLUSTER SLOTS")
    if found < wanted:
        return warn(
            "store replicas",
            f"{found} where store.wait_replicas asks for {wanted}: settlements stay in the journal",
            "add replicas, or lower store.wait_replicas",
        )
    return ok("store replicas", f"{found}; settlements wait for {wanted}")


async def round_trips(client: Store) -> list[float]:
    """Milliseconds of some calls, one after the other."""
    took = []
    for _ in range(_PINGS):
        began = time.perf_counter()
        await client.call("TIME")
        took.append((time.perf_counter() - began) * 1000)
    return took


def latency(took_ms: list[float], timeout_ms: float) -> Finding:
    """Whether the store is near enough for a call to wait for it twice."""
    usual, worst = median(took_ms), max(took_ms)
    said = f"{usual:.2f} ms, at most {worst:.2f} ms of {len(took_ms)}"
    if worst >= timeout_ms:
        return bad(
            "store latency",
            f"{said}; a call waits {timeout_ms} ms",
            "bring the store nearer, or raise store.timeout_ms",
        )
    if usual > 5:
        return warn("store latency", said, "each call waits for it twice: bring the store nearer")
    return ok("store latency", said)


def skew(check: str, ahead_s: float, most_s: float) -> Finding:
    """Whether two clocks agree; `ahead_s` is how far the other one is before ours."""
    said = f"{abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}"
    if abs(ahead_s) > most_s:
        return bad(check, said, "let both machines take their time from NTP")
    return ok(check, "agrees with this machine's")
