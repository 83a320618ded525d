"""`tunegate doctor` against a real store and real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from click.testing import CliRunner, Result

from gateway.cli.main import tunegate
from gateway.upstream import entra
from tests.support.azure import KEY as AZURE_KEY
from tests.support.azure import running_azure
from tests.support.fake_upstream import running_upstream
from tests.support.polling import until
from tests.support.quirky import running_quirky
from tests.support.valkey import ValkeyServer
from tests.support.valkey_cluster import ValkeyCluster

SECRETS = ("sk-doctor-canary-1", "sk-doctor-canary-2", "the-stores-password")


async def doctor(path: Path, config: dict[str, Any]) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the findings by their check."""
    lines, done = await asyncio.to_thread(_run, path, yaml.safe_dump(config))
    assert not any(secret in lines.output + done.output for secret in SECRETS)
    assert lines.exit_code == done.exit_code
    report = json.loads(done.output)
    assert report["ok"] == (done.exit_code == 0)
    found = report["findings"]
    assert all(each["do"] for each in found if each["state"] != "ok")
    return done.exit_code, {each["check"]: each for each in found}


def _run(path: Path, text: str) -> tuple[Result, Result]:
    path.write_text(text)
    run = CliRunner().invoke
    return run(tunegate, ["doctor", str(path)]), run(tunegate, ["doctor", str(path), "--json"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.yaml"


def config_of(store: str, upstreams: dict[str, Any], **blocks: Any) -> dict[str, Any]:
    server = {"max_connections": 100}  # whatever this machine allows
    return {"server": server, "store": {"url": store, "timeout_ms": 5000}, "upstreams": upstreams} | blocks


async def test_all_is_well(file: Path, valkey: ValkeyServer) -> None:
    async with running_upstream() as upstream:
        upstream.models = [{"id": "m", "object": "model"}]
        status, found = await doctor(
            file,
            config_of(
                valkey.url,
                {"a": {"base_url": upstream.url, "api_keys": [SECRETS[0]]}},
                aliases={"support": {"model": "m"}},
            ),
        )
    assert status == 0, found
    assert found["upstream a key"]["said"] == "accepted"
    assert found["upstream a models"]["state"] == "ok"
    assert found["store version"]["said"].startswith("Valkey ")
    for check in ("store", "store permissions", "store latency", "store clock"):
        assert found[check]["state"] == "ok", found[check]
    assert valkey.run("KEYS", "*doctor*") == []


async def test_what_is_wrong_with_upstreams(file: Path, valkey: ValkeyServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        closed = held.getsockname()[1]
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    stranger = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    refusing = await asyncio.start_server(_refuses, "127.0.0.1", 0)
    async with stranger, refusing, running_upstream() as upstream:
        status, found = await doctor(
            file,
            config_of(
                valkey.url,
                {
                    "gone": {"base_url": f"http://127.0.0.1:{closed}/v1"},
                    "nowhere": {"base_url": "http://no-such-host.invalid/v1"},
                    "stranger": {"base_url": f"https://127.0.0.1:{stranger.sockets[0].getsockname()[1]}/v1"},
                    "refusing": {
                        "base_url": f"http://127.0.0.1:{refusing.sockets[0].getsockname()[1]}/v1",
                        "api_keys": list(SECRETS[:2]),
                    },
                    "off": {"base_url": upstream.url, "api_keys": [""]},
                    "empty": {"base_url": upstream.url},
                },
                aliases={"support": {"model": "m", "upstreams": ["empty"]}},
            ),
        )
    assert status == 1
    assert found["upstream gone"]["state"] == "bad"
    assert "cannot resolve" in found["upstream nowhere"]["said"]
    assert found["upstream stranger TLS"]["state"] == "bad"
    assert "status 401" in found["upstream refusing key 2 of 2"]["said"]
    assert found["upstream refusing clock"]["state"] == "bad"
    assert found["upstream off"]["state"] == "warn"
    assert "does not list m, which alias support" in found["upstream empty model"]["said"]


async def _refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(
        b"HTTP/1.1 401 Unauthorized\r\ndate: Tue, 15 Nov 1994 08:12:31 GMT\r\ncontent-length: 0\r\n"
        b"connection: close\r\n\r\n"
    )
    await writer.drain()
    writer.close()


async def test_a_store_that_is_away(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    url = f"redis://gateway:{SECRETS[2]}@127.0.0.1:{port}"
    status, found = await doctor(file, config_of(url, {"demo": {"kind": "demo"}}))
    assert status == 1
    assert found["store"]["state"] == "bad"
    assert f"127.0.0.1:{port}" in found["store"]["said"]


async def test_a_store_that_evicts_and_forbids(file: Path) -> None:
    with ValkeyServer("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", tcp=True) as server:
        server.run("ACL", "SETUSER", "limited", "on", f">{SECRETS[2]}", "~*", "+@all", "-xadd", "-zadd")
        port = server.url.rsplit(":", 1)[1].split("/")[0]
        url = f"redis://limited:{SECRETS[2]}@127.0.0.1:{port}"
        status, found = await doctor(file, config_of(url, {"demo": {"kind": "demo"}}))
        server.run("ACL", "SETUSER", "limited", "+@all", "-info")
        _, blind = await doctor(file, config_of(url, {"demo": {"kind": "demo"}}))
    assert status == 1
    assert found["store eviction"]["state"] == "bad"
    refused = found["store permissions"]["said"]
    assert "XADD" in refused
    assert "ZADD" in refused
    assert "HSET" not in refused
    assert blind["store server"]["state"] == "warn"
    assert blind["store permissions"]["state"] == "ok"


async def test_whether_there_are_replicas_to_wait_for(file: Path) -> None:
    at_once = ("--repl-diskless-sync-delay", "0")
    with ValkeyServer(*at_once, tcp=True) as server, ValkeyServer(tcp=True) as other:
        config = config_of(server.url, {"demo": {"kind": "demo"}})
        config["store"]["wait_replicas"] = 1
        _, alone = await doctor(file, config)
        other.run("REPLICAOF", "127.0.0.1", server.port)
        await until(lambda: other.run("ROLE")[3] == b"connected", "the replica's link")
        _, paired = await doctor(file, config)
    with ValkeyCluster(primaries=2, replicas=1) as cluster:
        config["store"]["url"] = cluster.url
        _, half = await doctor(file, config)
    assert alone["store replicas"]["said"].startswith("0 where store.wait_replicas asks for 1")
    assert paired["store replicas"] == paired["store replicas"] | {"state": "ok"}
    assert half["store replicas"]["state"] == "warn"


async def test_a_cache_is_looked_at_where_one_is_wanted(
    file: Path, valkey: ValkeyServer, tmp_path: Path
) -> None:
    wanted = {"cache": {"enabled": True}}
    plain = config_of(valkey.url, {})
    _, found = await doctor(file, plain)
    assert not any(check.startswith("cache") for check in found)
    _, found = await doctor(file, plain | wanted)
    assert [found[check]["state"] for check in ("cache", "cache permissions")] == ["ok", "ok"]
    assert "keeps the ledger too" in found["cache memory"]["said"]
    options = ("--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru")
    with ValkeyServer(*options, password="the-stores-password", restricted=False) as own:
        plain["store"] |= {"cache_url": own.url}
        _, found = await doctor(file, plain)
        assert (found["cache memory"]["said"], found["cache memory"]["state"]) == ("allkeys-lru, 8 MiB", "ok")
        assert found["cache permissions"]["state"] == "ok"
        assert own.run("DBSIZE") == 0
        own.run("ACL", "SETUSER", "default", "-xdel", "-info")
        _, found = await doctor(file, plain)
        assert "XDEL" in found["cache permissions"]["said"]
        assert found["cache memory"]["do"] == "permit INFO and DBSIZE"
    status, found = await doctor(file, plain)
    assert (status, found["cache"]["state"]) == (0, "warn")
    plain["store"] |= {"cache_url": "embedded", "data_dir": str(tmp_path)}
    _, found = await doctor(file, plain)
    assert found["cache"]["said"].startswith("embedded; not running now")


async def test_a_resource_of_azure(file: Path, valkey: ValkeyServer) -> None:
    """Its list tells whether the key is good, and nothing of the deployments."""
    async with running_azure({"dep": "gpt-4o"}) as azure:
        block = {"kind": "azure", "base_url": azure.url, "deployments": {"m": "dep"}}
        upstreams = {
            "v1": {**block, "api_keys": [AZURE_KEY]},
            "dated": {**block, "api_keys": [AZURE_KEY], "api_version": "2024-10-21"},
            "wrong": {**block, "api_keys": ["sk-doctor-canary-1"]},
        }
        aliases = {"a": {"model": "m", "upstreams": list(upstreams)}}
        status, found = await doctor(file, config_of(valkey.url, upstreams, aliases=aliases))
        assert status == 1
        assert found["upstream v1 key"]["state"] == found["upstream dated key"]["state"] == "ok"
        assert found["upstream wrong key"]["said"] == "refused with status 401"
        assert not [check for check in found if check.startswith("upstream v1 model")]


async def test_an_endpoint_without_a_list(file: Path, valkey: ValkeyServer) -> None:
    async with running_quirky({"no list of models"}) as upstream:
        block = {"base_url": upstream.url, "models": ["m"], "quirks": {"model_list": False}}
        status, found = await doctor(file, config_of(valkey.url, {"quirky": block}))
        assert status == 0
        assert found["upstream quirky key"]["state"] == "ok"


async def test_a_machine_without_an_identity(
    file: Path, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Any:
        raise RuntimeError("no identity on this machine")

    monkeypatch.setattr(entra, "default_credential", none)
    monkeypatch.setattr("gateway.cli.doctor_upstreams.DEADLINE_S", 0.4)
    block = {"kind": "azure", "base_url": "http://127.0.0.1:9", "auth": "entra", "deployments": {"m": "dep"}}
    status, found = await doctor(file, config_of(valkey.url, {"azure": block}))
    assert status == 1
    said = found["upstream azure"]["said"]
    assert said.startswith("no Entra token for https://cognitiveservices")
    assert said.endswith("RuntimeError: no identity on this machine")
    assert "identity" in found["upstream azure"]["do"]
