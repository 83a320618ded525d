"""One run: gateways on a cluster under load, a slot that moves, a primary that is killed, and the books.

    load       |--------------------------------------------------------------|
    a slot          |move|
    a primary                   |cut off|killed      promoted|   |starts again
    window                      |----------------------------- + SETTLES_S|

Its replica is cut off for a moment before the primary goes, as a network or a busy machine does it: what is
written meanwhile stands on the primary alone, and goes with it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from gateway.store.keys import key_record
from gateway.store.slots import slot_of
from tests.chaos.kit.checker import ClientCall, Logs, Verdict, check
from tests.chaos.kit.clients import Call, Clients, Key
from tests.chaos.kit.cluster_books import ClusterBooks
from tests.chaos.kit.run import PRICES, STOP_S, dispatches, key_of, running_upstream
from tests.chaos.kit.upstream import FIRST_MODEL
from tests.chaos.kit.words import Wish
from tests.e2e.gateway_process import GatewayProcess
from tests.support.valkey_cluster import ClusterNode, ValkeyCluster

NODE_TIMEOUT_MS = 1000
SETTLED_WITHIN_S = 100.0
"""Of what is lost with a primary reservations stay: they are charged when their leases are over."""

SETTLES_S = 1.5
"""How long after the promotion calls may fail: gateways look for the new primary each quarter second."""

PROMOTED_WITHIN_S = 20.0


@dataclass(frozen=True)
class Settings:
    """Of a run.

    Args:
        rate: calls a second, all gateways together.
        cut_off_s: how long the replica is cut off before its primary is killed.
    """

    requests: int = 6000
    seed: int = 1
    gateways: int = 3
    workers: int = 1
    rate: float = 300
    wait_replicas: int = 1
    cut_off_s: float = 0.3


@dataclass
class Blows:
    """What was done, and when (monotonic seconds)."""

    moved_slot: int = -1
    move_s: tuple[float, float] = (0.0, 0.0)
    killed: str = ""
    cut_at: float = 0.0
    killed_at: float = 0.0
    promoted_at: float = 0.0
    keys_of_the_killed: set[str] = field(default_factory=set)

    def is_excused(self, moment: float) -> bool:
        """Whether a call that ended then may have failed."""
        return self.cut_at <= moment <= self.promoted_at + SETTLES_S


class _Timed(list[ClientCall]):
    """What clients saw, and when it was over."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[float] = []

    def append(self, call: ClientCall) -> None:
        super().append(call)
        self.moments.append(time.monotonic())


@dataclass(frozen=True)
class Result:
    """What a run found."""

    verdict: Verdict
    blows: Blows
    failed_within: int
    failed_outside: int
    last_failure_s: float
    other_shards_failed: int
    lost: int
    settled_after_s: float
    journals_left: list[str]

    @property
    def is_good(self) -> bool:
        """No wrong charge, and nobody failed but during the failover, at the shards of the killed primary."""
        return not (
            self.verdict.violations or self.journals_left or self.failed_outside or self.other_shards_failed
        )

    def figures(self, settings: Settings) -> dict[str, Any]:
        """For one line of JSON."""
        return {
            **asdict(settings),
            **self.verdict.figures,
            "lost": self.lost,
            "violations_by_kind": self.verdict.by_kind,
            "move_s": round(self.blows.move_s[1] - self.blows.move_s[0], 2),
            "failover_s": round(self.blows.promoted_at - self.blows.killed_at, 2),
            "failed_within_the_window": self.failed_within,
            "failed_outside": self.failed_outside,
            "failed_at_other_shards": self.other_shards_failed,
            "last_failure_after_the_kill_s": round(self.last_failure_s, 2),
            "settled_after_s": round(self.settled_after_s, 1),
            "journals_left": len(self.journals_left),
        }


def run(settings: Settings) -> Result:
    """Start everything, load and hit it, wait until it is quiet, and check."""
    with ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunegate-chaos-"))) / "upstream"
        upstream, port = stack.enter_context(running_upstream(log))
        cluster = stack.enter_context(
            ValkeyCluster(primaries=3, replicas=3, node_timeout_ms=NODE_TIMEOUT_MS, restricted=True)
        )
        gateways = [GatewayProcess(_config(settings, cluster.url, port)) for _ in range(settings.gateways)]
        for gateway in gateways:
            stack.callback(gateway.cleanup)
        with ThreadPoolExecutor() as pool:
            list(pool.map(GatewayProcess.start, gateways))
        keys = _keys(gateways[0])
        _meet(gateways, keys)
        places = itertools.cycle([_place(gateway) for gateway in gateways])
        clients = Clients(
            keys,
            settings.requests,
            settings.seed,
            lambda: next(places),
            at_once=24,
            rate=settings.rate,
            draw_call=_draw_call,
        )
        clients.seen = seen = _Timed()
        blows = asyncio.run(_load(clients, cluster, keys, settings))
        with ClusterBooks(cluster, [gateway.data_dir for gateway in gateways]) as books:
            settled_after_s = books.wait_until_settled(SETTLED_WITHIN_S)
            upstream.send_signal(signal.SIGTERM)
            upstream.wait(STOP_S)
            logs = Logs(
                calls=seen,
                dispatches=dispatches(log),
                entries=books.entries(),
                accounts=[books.account(key) for key in keys],
                open_reservations=books.open_reservations(),
                counted=books.counted(),
                prices=PRICES,
            )
            journals = books.journals()
        return _result(logs, seen, blows, settled_after_s, journals)


def _result(logs: Logs, seen: _Timed, blows: Blows, settled_after_s: float, journals: list[str]) -> Result:
    failed = [
        (call, moment)
        for call, moment in zip(seen, seen.moments, strict=True)
        if call.status != 200 or not call.acknowledged
    ]
    excused = [blows.is_excused(moment) for _, moment in failed]
    states = {entry.record["request_id"]: entry.record["state"] for entry in logs.entries}
    return Result(
        check(logs),
        blows,
        sum(excused),
        len(failed) - sum(excused),
        max((moment - blows.killed_at for _, moment in failed), default=0.0),
        sum(call.key not in blows.keys_of_the_killed for call, _ in failed),
        sum(call.acknowledged and states.get(call.request_id) in {None, "orphaned"} for call in logs.calls),
        settled_after_s,
        journals,
    )


async def _load(clients: Clients, cluster: ValkeyCluster, keys: list[Key], settings: Settings) -> Blows:
    blows = Blows()
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(_hit, cluster, keys, settings, blows))
        await clients.run()
    return blows


def _hit(cluster: ValkeyCluster, keys: list[Key], settings: Settings, blows: Blows) -> None:
    """Everything that happens to the cluster, in its order."""
    draw = random.Random(settings.seed)  # noqa: S311  # no secret: a run can be repeated
    quarter_s = settings.requests / settings.rate / 5
    time.sleep(quarter_s)
    slots = sorted({_slot(key) for key in keys})
    slot = draw.choice(slots)
    source = cluster.primary_of(slot)
    target = draw.choice([node for node in cluster.nodes[:3] if node is not source])
    began = time.monotonic()
    source.run("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.node_id)
    cluster.wait(lambda: _owner(cluster, slot) is target, "the move of a slot")
    blows.moved_slot, blows.move_s = slot, (began, time.monotonic())

    time.sleep(quarter_s)
    primary = cluster.primary_of(draw.choice(slots))
    replica = cluster.replica_of(primary)
    blows.keys_of_the_killed = {key.id for key in keys if cluster.primary_of(_slot(key)) is primary}
    blows.killed = f"127.0.0.1:{primary.port}"
    blows.cut_at = time.monotonic()
    if settings.cut_off_s:
        replica.pause()
        primary.run("CLIENT", "KILL", "TYPE", "replica")
        time.sleep(settings.cut_off_s)
    blows.killed_at = time.monotonic()
    primary.kill()
    replica.resume()
    cluster.wait(replica.is_primary, "the promotion", PROMOTED_WITHIN_S)
    blows.promoted_at = time.monotonic()
    time.sleep(quarter_s)
    primary.start()
    cluster.wait(cluster.is_settled, "the killed one's return as a replica", PROMOTED_WITHIN_S)


def _owner(cluster: ValkeyCluster, slot: int) -> ClusterNode | None:
    try:
        return cluster.primary_of(slot)
    except LookupError:  # between the two
        return None


def _slot(key: Key) -> int:
    slot = slot_of(("GET", key_record(key.id)))
    assert slot is not None
    return slot


def _config(settings: Settings, url: str, port: int) -> dict[str, Any]:
    unlimited = {"rpm": None, "tpm": None, "concurrency": None}
    store = {"url": url, "data_dir": "data", "timeout_ms": 250, "wait_replicas": settings.wait_replicas}
    return {
        "server": {"workers": settings.workers, "drain_grace_s": 0.1, "drain_timeout_s": 5},
        "store": store,
        "upstreams": {"chaos": {"base_url": f"http://127.0.0.1:{port}/v1", "models": ["chaos-*"]}},
        "prices": {"chaos-*": {"input": 1, "output": 2}},
        "limits": {"default": unlimited},
    }


def _keys(gateway: GatewayProcess) -> list[Key]:
    """With a budget, with credit, with neither: some of each, in shards of all three primaries."""
    month = {"usd": 1000, "period": "month"}
    found = [key_of(gateway, None, name=f"free {number}") for number in range(6)]
    found += [key_of(gateway, 1000, name=f"budget {number}", budget=month) for number in range(6)]
    return found + [key_of(gateway, 1000, name=f"credit {number}", credit_usd=1000) for number in range(6)]


def _meet(gateways: list[GatewayProcess], keys: list[Key]) -> None:
    """Every worker knows every key: while a shard is away, unknown ones are refused."""
    for gateway in gateways:
        with gateway.each_worker() as workers:
            for worker, key in itertools.product(workers, keys):
                assert worker.models(key.text).status_code == httpx2.codes.OK


def _place(gateway: GatewayProcess) -> tuple[str, int]:
    url = urlsplit(gateway.data_url)
    assert url.hostname
    assert url.port
    return url.hostname, url.port


def _draw_call(number: int, draw: random.Random, keys: list[Key]) -> Call:
    """A call that nothing but the store can make fail: a reply or a stream, read to its end."""
    wish = Wish(f"t{number:07}", draw.randint(1, 8), draw.choice((0, 1, 5)), True, "answer")
    return Call(wish, draw.choice(keys), FIRST_MODEL, draw.random() < 0.5)
