"""The server of the response cache under the whole product: started when wanted, killed, no orphan."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import config_with
from tests.e2e.gateway_process import GatewayProcess, OneWorker, running_gateway, wait_until
from tests.support.fake_upstream import FakeUpstream

MODEL = "fake-kept"
ALIAS = {"model": MODEL, "upstreams": ["fake"]}


@pytest.fixture(scope="module")
def keeper(fake: FakeUpstream) -> Iterator[GatewayProcess]:
    """A gateway whose file enables no cache."""
    with running_gateway(config_with(fake)) as gateway:
        yield gateway


def how(workers: list[OneWorker], key: str) -> list[str | None]:
    """How the cache took part in a call of each worker, one after the other."""
    return [worker.chat(key, "kept", temperature=0).headers.get("x-tunegate-cache") for worker in workers]


def test_its_life(keeper: GatewayProcess, fake: FakeUpstream) -> None:
    keeper.admin("PUT", "/admin/v1/aliases/kept", ALIAS)
    key = keeper.new_key(team="blue")
    with keeper.each_worker() as workers:
        assert how(workers, key) == [None, None]
        assert keeper.starts_of("cache") == 0
        assert keeper.admin("GET", "/admin/v1/cache")["server"]["state"] == "off"

        # An alias wants it now: nothing was restarted for that.
        keeper.admin("PUT", "/admin/v1/aliases/kept", {**ALIAS, "cache": {"enabled": True}})
        wait_until(lambda: keeper.starts_of("cache") == 1, "the cache's server")
        wait_until(lambda: how(workers, key) == ["hit", "hit"], "hits on both workers")
        asked = len(fake.calls_of(MODEL))
        assert how(workers, key) == ["hit", "hit"]
        assert len(fake.calls_of(MODEL)) == asked

        assert keeper.cli("cache", "purge", "--alias", "kept").stdout == "purged: alias kept\n"
        assert how(workers, key) == ["miss", "hit"]
        assert keeper.cli("cache", "purge", "--key", key.split("-")[1]).returncode == 0
        assert how(workers, key) == ["miss", "hit"]

        shown = keeper.admin("GET", "/admin/v1/cache")
        assert shown["server"]["state"] == "up"
        assert shown["server"]["policy"] == "allkeys-lru"
        assert shown["server"]["max_memory_bytes"] == 64 << 20
        assert {"kept", None} >= {row["alias"] for row in shown["data"] if row["cache_hits"]}

        # Killed, it comes back empty; meanwhile calls are misses.
        os.kill(keeper.pid("cache"), signal.SIGKILL)
        assert set(how(workers, key)) <= {"miss", "hit"}
        wait_until(lambda: keeper.starts_of("cache") == 2, "another server")
        wait_until(lambda: how(workers, key) == ["hit", "hit"], "hits again")

    keeper.process.kill()
    wait_until(lambda: not keeper.alive(), "the end of all processes")
