"""The response cache over the admin API and by `tunegate cache`."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from gateway.cache.port import Generations, Purged
from gateway.cli.main import tunegate
from gateway.control import cache_wish
from gateway.control.plane import ControlPlane
from gateway.store.cache_repository import CacheRepository
from gateway.store.client import Store
from gateway.supervisor.paths import embedded_cache_socket
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import CACHE
from tests.integration.control.running import ADMIN_KEY, RunningControl
from tests.integration.usage.records import Book
from tests.support.polling import until
from tests.support.valkey import ValkeyServer

Start = Callable[..., Awaitable[RunningControl]]

FILE = (
    "upstreams: {a: {base_url: 'http://127.0.0.1:9/v1', models: [m]}}\n"
    "aliases: {support: {model: m}, sales: {model: m}}"
)
KEY = sha256(b"a call").hexdigest()


@pytest.fixture
async def cache(store: Store) -> CacheRepository:
    """The cache as workers see it: here on the ledger's server."""
    return CacheRepository(store, is_shared=True)


@pytest.fixture
async def control(start_control: Start) -> RunningControl:
    return await start_control(FILE)


def where(server: ValkeyServer) -> str:
    return f"unix://{server.path}"


def cli(control: RunningControl, *arguments: str) -> Awaitable[Result]:
    runner = CliRunner(env={"TUNEGATE_ADMIN_KEY": ADMIN_KEY, "TUNEGATE_ADMIN_URL": control.url})

    async def run() -> Result:
        with capture_logs():  # of the control plane, which shares this process's stdout
            return await asyncio.to_thread(runner.invoke, tunegate, arguments)

    return run()


async def in_force(cache: CacheRepository, alias: str, scope: str) -> Generations:
    return (await cache.look(Purged(alias, scope), KEY, None)).generations


async def made_key(control: RunningControl, **fields: Any) -> str:
    key: str = (await control.call("POST", "/keys", {"name": "k", **fields}))["id"]
    return key


async def test_a_purge_of_an_alias_leaves_the_others(control: RunningControl, cache: CacheRepository) -> None:
    before = [await in_force(cache, alias, "key:a") for alias in ("support", "sales")]
    done = await control.call("POST", "/cache/purge", {"alias": "support"})
    assert done == {"object": "cache.purge", "alias": "support", "key": None, "purged": True}
    after = [await in_force(cache, alias, "key:a") for alias in ("support", "sales")]
    assert after[0].alias > before[0].alias
    assert after[1] == before[1]


async def test_a_purge_of_a_key_names_the_scope_that_it_has(
    control: RunningControl, cache: CacheRepository
) -> None:
    alone, other = await made_key(control), await made_key(control)
    scopes = [f"key:{alone}", f"key:{other}", "team:sales"]
    before = [await in_force(cache, "support", scope) for scope in scopes]
    await control.call("POST", "/cache/purge", {"key": alone})
    after = [await in_force(cache, "support", scope) for scope in scopes]
    assert [a != b for a, b in zip(after, before, strict=True)] == [True, False, False]


async def test_a_purge_of_all_and_of_both(control: RunningControl, cache: CacheRepository) -> None:
    key = await made_key(control)
    first = await in_force(cache, "support", f"key:{key}")
    await control.call("POST", "/cache/purge", {})
    second = await in_force(cache, "support", f"key:{key}")
    assert second.everything > first.everything
    assert second[1:] == first[1:]
    await control.call("POST", "/cache/purge", {"alias": "support", "key": key})
    third = await in_force(cache, "support", f"key:{key}")
    assert third.everything == second.everything
    assert third.alias > second.alias
    assert third.scope > second.scope


async def test_unknown_names_are_said_so(control: RunningControl) -> None:
    for field, name in (("alias", "suport"), ("key", "07abcdefghij"), ("key", "?")):
        answer = await control.call("POST", "/cache/purge", {field: name}, expect=404)
        assert answer["error"]["param"] == field
        assert name in answer["error"]["message"]
    answer = await control.call("POST", "/cache/purge", {"alais": "support"}, expect=400)
    assert answer["error"]["message"] == "Unknown field `alais`."


async def test_the_stats_are_those_of_server_replica_and_ledger(
    control: RunningControl, cache: CacheRepository, store: Store, valkey: ValkeyServer
) -> None:
    book = Book(store)
    for how in ("hit", "shared", "miss", None):
        await book.settle(alias="support", cache=how, saved_nanousd=1_500_000 if how == "hit" else 0)
    await book.settle(alias=None)
    counters = Counters()
    for result in ("hit", "miss", "miss", "shared", "corrupt"):
        counters.inc(CACHE, (result,))
    control.plane.metrics.apply("worker", counters.take_delta())
    found = await control.call("GET", "/cache")
    assert found["results"] == {
        "hit": 1,
        "miss": 2,
        "shared": 1,
        "bypass": 0,
        "error": 0,
        "corrupt": 1,
    }
    assert [
        (row["alias"], row["requests"], row["cache_hits"], row["saved_usd"]) for row in found["data"]
    ] == [
        (None, 1, 0, "0"),
        ("support", 4, 2, "0.0015"),
    ]
    server = found["server"]
    assert (server["where"], server["state"], server["shares_ledger"]) == (where(valkey), "up", True)
    assert (server["policy"], server["max_memory_bytes"], server["evicted_keys"]) == ("noeviction", 0, 0)
    assert server["keys"] > 0
    assert server["memory_bytes"] > 100_000
    assert found["to"] - found["from"] == 30 * 86400


async def test_the_command_shows_and_purges(control: RunningControl, cache: CacheRepository) -> None:
    shown = await cli(control, "cache", "stats")
    assert shown.exit_code == 0
    assert "server state: up\n" in shown.output
    assert "hit: 0\n" in shown.output
    assert "ALIAS\tREQUESTS\tHITS\tSAVED USD" in shown.output
    assert json.loads((await cli(control, "cache", "stats", "--json")).output)["object"] == "cache"
    before = await in_force(cache, "support", "key:a")
    assert (await cli(control, "cache", "purge", "--alias", "support")).output == "purged: alias support\n"
    assert (await in_force(cache, "support", "key:a")).alias > before.alias
    assert (await cli(control, "cache", "purge")).output == "purged: everything\n"
    assert json.loads((await cli(control, "cache", "purge", "--json")).output)["purged"] is True
    refused = await cli(control, "cache", "purge", "--alias", "suport")
    assert (refused.exit_code, refused.output) == (1, "Error: No alias is called `suport`.\n")


async def test_a_cache_of_its_own_may_be_off_or_away(
    start_control: Start, valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ValkeyServer() as own:
        store = f"store: {{url: '{valkey.url}', cache_url: '{own.url}', data_dir: {tmp_path}}}\n"
        control = await start_control(store + FILE, bare=True)
        server = (await control.call("GET", "/cache"))["server"]
        assert (server["where"], server["state"], server["shares_ledger"]) == (where(own), "up", False)
        own.kill()
        server = (await control.call("GET", "/cache"))["server"]
        assert (server["state"], server["keys"], server["policy"]) == ("off", None, None)
        await control.call("POST", "/cache/purge", {})
        monkeypatch.setattr(control.plane._cache, "_is_wanted", lambda: True)
        assert (await control.call("GET", "/cache"))["server"]["state"] == "away"
        answer = await control.call("POST", "/cache/purge", {}, expect=503)
        assert answer["error"]["code"] == "store_unavailable"


# The server that is started only once it is wanted.


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What control planes asked for."""
    wishes: list[int] = []
    real = ControlPlane.__init__

    def init(self: ControlPlane, *args: Any) -> None:
        real(self, *args, start_cache=lambda: wishes.append(signal.SIGUSR2))

    monkeypatch.setattr(ControlPlane, "__init__", init)
    monkeypatch.setattr(cache_wish, "LOOK_EVERY_S", 0.01)
    return wishes


async def test_the_server_is_asked_for_once_an_alias_wants_it(
    start_control: Start, valkey: ValkeyServer, tmp_path: Path, asked: list[int]
) -> None:
    store = f"store: {{url: '{valkey.url}', cache_url: embedded, data_dir: {tmp_path}}}\n"
    control = await start_control(store + FILE, bare=True)
    server = (await control.call("GET", "/cache"))["server"]
    assert (server["where"], server["state"]) == (f"unix://{embedded_cache_socket(tmp_path)}", "off")
    assert asked == []
    await control.call("PUT", "/aliases/sales", {"model": "m", "cache": {"enabled": True}})
    await until(lambda: asked, "the wish")
    assert (await control.call("GET", "/cache"))["server"]["state"] == "away"
    await control.call("PUT", "/aliases/support", {"model": "m", "cache": {"enabled": True}})
    assert asked == [signal.SIGUSR2]


async def test_a_cache_that_is_elsewhere_is_not_asked_for(start_control: Start, asked: list[int]) -> None:
    control = await start_control("cache: {enabled: true}")
    await until(control.plane._cache_wish.is_wanted)
    await asyncio.sleep(0.05)
    assert asked == []
