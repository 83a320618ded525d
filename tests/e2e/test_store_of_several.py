"""A whole gateway whose store is a cluster, or a pair behind sentinels that loses its primary."""

from __future__ import annotations

import signal
import time
from typing import Any

import httpx2
import pytest

from gateway.store.keys import ledger
from tests.e2e.gateway_process import GatewayProcess, running_gateway, wait_until
from tests.support.valkey_cluster import ValkeyCluster
from tests.support.valkey_sentinel import WatchedPair

MODEL = "ft:gpt-4.1-mini-2025-04-14:demo:support:D3m0Aa01"
CALL = {"model": "support", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
BOUNDED = {"limits": {"rpm": 1000, "tpm": 1_000_000, "concurrency": 50}, "credit_usd": "1"}
BUDGET = {"usd": "5", "period": "month"}
RESUMES_WITHIN_S = 30


def config(url: str) -> dict[str, Any]:
    return {
        "server": {"workers": 2, "drain_grace_s": 0, "drain_timeout_s": 20},
        "store": {"url": url, "data_dir": "data", "timeout_ms": 250, "settle_timeout_ms": 500},
        "upstreams": {"demo": {"kind": "demo", "owns": ["demo"]}},
        "aliases": {"support": {"model": MODEL, "upstreams": ["demo"]}},
    }


class Caller:
    """Calls with one key; `served` are the ids of the requests that it has a whole answer to."""

    def __init__(self, gateway: GatewayProcess, key: str) -> None:
        self.served: list[str] = []
        self._gateway = gateway
        self.key = key

    def call(self) -> int:
        """One call; returns its status."""
        answer = httpx2.post(
            f"{self._gateway.base_url}/chat/completions",
            json=CALL,
            headers={"authorization": f"Bearer {self.key}"},
            trust_env=False,
            timeout=10,
        )
        if answer.status_code == 200:
            self.served.append(answer.headers["x-request-id"])
        return answer.status_code


def events(gateway: GatewayProcess) -> list[dict[str, Any]]:
    """All records of the ledger."""
    found: list[dict[str, Any]] = gateway.admin("GET", "/admin/v1/usage/events?limit=1000")["data"]
    return found


def test_on_a_cluster_a_key_is_held_to_its_bounds_and_its_calls_are_counted() -> None:
    with ValkeyCluster() as cluster, running_gateway(config(cluster.url)) as gateway:
        issued = [gateway.issue_key(name=f"team-{number}", budget=BUDGET, **BOUNDED) for number in range(6)]
        callers = [Caller(gateway, each["key"]) for each in issued]
        assert len({each["id"][:2] for each in issued}) > 1
        for caller in callers:
            assert [caller.call() for _ in range(3)] == [200] * 3
        limited = Caller(gateway, gateway.new_key(limits={"rpm": 1}))
        assert [limited.call(), limited.call()] == [200, 429]

        written = events(gateway)
        served = [request for caller in (*callers, limited) for request in caller.served]
        assert sorted(each["request_id"] for each in written) == sorted(served)
        rows = {row["key"]: row for row in gateway.admin("GET", "/admin/v1/usage?group_by=key")["data"]}
        for each in issued:
            assert rows[each["id"]]["requests"] == 3
        assert gateway.cli("ledger", "audit").returncode == 0
        assert gateway.stop() == 0
        assert gateway.logged("a request failed") == []


@pytest.mark.timeout(120)
def test_behind_sentinels_calls_go_on_after_the_primary_was_killed() -> None:
    with WatchedPair() as pair, running_gateway(config(pair.url)) as gateway:
        bounded = Caller(gateway, gateway.new_key(budget=BUDGET, **BOUNDED))
        plain = Caller(gateway, gateway.new_key())
        for caller in (bounded, plain):
            assert [caller.call() for _ in range(10)] == [200] * 10
        with (
            gateway.each_worker() as workers
        ):  # while the store is away a worker serves the keys that it knows
            assert [worker.models(plain.key).status_code for worker in workers] == [200] * len(workers)
        wait_until(
            lambda: pair.primary.run("ROLE")[1] == pair.replica.run("ROLE")[4], "the replica to be in step"
        )
        pair.primary.kill()

        # A key that pays is refused until there is a primary again; any other one is served all the while.
        statuses: list[int] = []
        began = time.monotonic()
        while not statuses or statuses[-1] != 200:
            assert time.monotonic() - began < RESUMES_WITHIN_S, statuses
            statuses.append(bounded.call())
            assert plain.call() == 200
        assert set(statuses[:-1]) == {503}
        assert pair.replica.run("ROLE")[0] == b"master"
        for caller in (bounded, plain):
            assert [caller.call() for _ in range(5)] == [200] * 5

        def is_all_there() -> bool:
            return len(events(gateway)) >= len(bounded.served) + len(plain.served)

        wait_until(is_all_there, "the settlements of the time between", within_s=20)
        written = [each["request_id"] for each in events(gateway)]
        assert sorted(written) == sorted(bounded.served + plain.served)
        (total,) = gateway.admin("GET", "/admin/v1/usage")["data"]
        assert total["requests"] == len(written)
        assert gateway.stop() == 0
        assert gateway.logged("a request failed") == []


def test_a_drain_ends_once_the_replica_has_every_settlement() -> None:
    with WatchedPair(sentinels=1) as pair:
        settings = config(pair.url)
        settings["store"] |= {"wait_replicas": 1, "settle_timeout_ms": 250}
        with running_gateway(settings) as gateway:
            caller = Caller(gateway, gateway.new_key())
            assert [caller.call() for _ in range(3)] == [200] * 3
            pair.replica.pause()
            assert [caller.call() for _ in range(5)] == [200] * 5
            gateway.process.send_signal(signal.SIGTERM)
            wait_until(lambda: len(gateway.logged("draining")) == 2, "the drain of both workers")
            time.sleep(1)  # far longer than a drain takes that waits for nothing
            assert gateway.process.poll() is None
            pair.replica.resume()
            assert gateway.process.wait(20) == 0
            assert list((gateway.data_dir / "journal").glob("*.journal*")) == []
        kept = [pair.replica.run("XLEN", ledger(f"{shard:02}")) for shard in range(64)]
        assert sum(kept) == len(caller.served)
