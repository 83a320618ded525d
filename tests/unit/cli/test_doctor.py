"""What doctor makes of figures: no sockets."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import doctor_cache, doctor_machine, doctor_store, doctor_upstreams
from gateway.cli.doctor_finding import Finding
from gateway.cli.main import tunegate
from gateway.config import Settings, load
from gateway.store.info import ServerFacts, read_info

ROOT = Path(__file__).parents[3]
NOW = 1_800_000_000.0  # 2027-01-15 08:00 UTC


def settings(tmp_path: Path, text: str = "upstreams: {demo: {kind: demo}}") -> Settings:
    return load(text, base=tmp_path, env={}, name="gateway.yaml")


def commands_of(scripts: str) -> set[str]:
    """The commands that scripts use."""
    used: set[str] = set()
    for script in (ROOT / "gateway/store/lua").glob(scripts):
        code = re.sub(r"--[^\n]*", "", script.read_text("utf-8"))
        used |= {name.upper() for name in re.findall(r"redis\.p?call\(\s*['\"](\w+)", code)}
    return used


def states(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.state for finding in findings}


GOOD = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.2",
    "aof_enabled": "1",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
}


@pytest.mark.parametrize(
    ("changed", "check", "state"),
    [
        ({}, "store version", "ok"),
        ({}, "store persistence", "ok"),
        ({}, "store eviction", "ok"),
        ({"redis_version": "6.0.9"}, "store version", "bad"),
        ({"redis_version": "6.2.0"}, "store version", "ok"),
        ({"redis_version": "10.0.0"}, "store version", "ok"),
        ({"aof_enabled": "0"}, "store persistence", "warn"),
        ({"aof_last_write_status": "err"}, "store persistence", "bad"),
        ({"maxmemory_policy": "allkeys-lru"}, "store eviction", "warn"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": "1000000"}, "store eviction", "bad"),
    ],
)
def test_a_server(changed: dict[str, str], check: str, state: str) -> None:
    assert states(list(doctor_store.server(GOOD | changed)))[check] == state


MIB = 1 << 20


@pytest.mark.parametrize(
    ("policy", "bound", "is_shared", "state", "do"),
    [
        ("allkeys-lru", 64 * MIB, False, "ok", None),
        ("volatile-ttl", 64 * MIB, False, "ok", None),
        ("noeviction", 64 * MIB, False, "warn", "set maxmemory-policy allkeys-lru"),
        ("noeviction", 0, False, "warn", "set maxmemory and maxmemory-policy allkeys-lru"),
        ("noeviction", 64 * MIB, True, "warn", "give the cache a server of its own"),
        ("noeviction", 0, True, "warn", "set maxmemory, or give the cache a server of its own"),
    ],
)
def test_memory_of_the_cache(policy: str, bound: int, is_shared: bool, state: str, do: str | None) -> None:
    finding = doctor_cache.memory(ServerFacts(1, MIB, bound, policy, 0), is_shared=is_shared)
    assert finding.state == state
    assert (finding.do or "").startswith(do or "")


def test_a_cache_that_is_too_far_away_is_known() -> None:
    assert doctor_cache.latency([1.0, 49.0], 50).state == "ok"
    assert doctor_cache.latency([1.0, 51.0], 50).state == "warn"


def test_every_command_of_the_caches_scripts_is_tried() -> None:
    tried = {command[0] for command in doctor_cache.probes("k")}
    assert commands_of("cache_*.lua") - {"TIME"} <= tried


def test_info_is_read() -> None:
    text = b"# Server\r\nredis_version:7.2.4\r\nexecutable:/a:b\r\n\r\n# Memory\r\nmaxmemory:0\r\n"
    assert read_info(text) == {"redis_version": "7.2.4", "executable": "/a:b", "maxmemory": "0"}


def test_every_command_of_the_scripts_is_tried() -> None:
    tried = {command[0] for command in doctor_store.probes("k")}
    used = commands_of("*.lua")
    assert len(used) > 15
    assert used - {"TIME"} <= tried  # TIME is what the latency is measured with


def test_nothing_tried_outlives_a_minute() -> None:
    """Whatever makes the key is followed by its end, or by a bound of its life."""
    makers = {"SET", "HSET", "ZADD", "XADD", "RPUSH"}
    commands = [*doctor_store.probes("k"), *doctor_cache.probes("k")]
    for here, after in pairwise(commands):
        if here[0] in makers:
            assert "PX" in here or after[0] == "PEXPIRE"
    assert commands[-1][0] == "DEL"


@pytest.mark.parametrize(
    ("took", "state"), [([0.2] * 20, "ok"), ([8.0] * 20, "warn"), ([*[0.2] * 19, 120.0], "bad")]
)
def test_latency(took: list[float], state: str) -> None:
    assert doctor_store.latency(took, 100).state == state


@pytest.mark.parametrize(("ahead", "state"), [(0.3, "ok"), (-1.9, "ok"), (3.0, "bad"), (-3600.0, "bad")])
def test_skew(ahead: float, state: str) -> None:
    assert doctor_store.skew("clock", ahead, 2.0).state == state


@pytest.mark.parametrize(
    ("ends", "state"),
    [("Jan 20 00:00:00 2027 GMT", "warn"), ("Dec  1 00:00:00 2027 GMT", "ok"), (None, "ok")],
)
def test_a_certificate(ends: str | None, state: str) -> None:
    assert doctor_upstreams.certificate("c", "TLSv1.3", ends, NOW).state == state


def test_models_that_are_not_listed() -> None:
    found = list(doctor_upstreams.models("upstream a", {"m", "n"}, {"m": "support", "gone": "sales"}))
    assert [(each.state, "gone" in each.said and "sales" in each.said) for each in found] == [("bad", True)]
    assert [each.state for each in doctor_upstreams.models("upstream a", {"m"}, {"m": "support"})] == ["ok"]


@pytest.mark.parametrize(("hard", "state"), [(100, "bad"), (10_000_000, "ok"), (-1, "ok")])
def test_open_files(tmp_path: Path, hard: int, state: str) -> None:
    assert doctor_machine.files(settings(tmp_path), hard).state == state


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    found = list(doctor_machine.data_folder(settings(tmp_path)))
    assert [each.state for each in found] == ["bad"]


def test_packages_of_telemetry(tmp_path: Path) -> None:
    found = list(doctor_machine.machine(settings(tmp_path, "telemetry: {otlp_url: 'http://c:4318'}")))
    assert states(found)["telemetry"] == "ok"
    assert doctor_machine.telemetry_packages(has_them=False).state == "bad"
    assert "telemetry" not in states(list(doctor_machine.machine(settings(tmp_path))))


def run(*args: str) -> tuple[int, str]:
    done = CliRunner().invoke(tunegate, ["doctor", *args])
    return done.exit_code, done.output


def test_a_bad_file_is_one_line_a_mistake_and_1(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("server: {prot: 1}\nupstreams: {a: {kind: demmo}}\n")
    status, output = run(str(path))
    assert status == 1
    assert len(re.findall(r"^bad   configuration: .*gateway\.yaml:\d: .+ -> ", output, re.MULTILINE)) == 2
    status, output = run(str(path), "--json")
    report = json.loads(output)
    assert (status, report["ok"], len(report["findings"])) == (1, False, 2)


def test_no_file_is_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run()[0] == 2


def test_before_the_first_start_of_a_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "upstreams: {demo: {kind: demo}}\nserver: {max_connections: 100}\n"
    )
    monkeypatch.chdir(tmp_path)
    status, output = run()
    assert status == 0
    assert {line.split()[0] for line in output.splitlines()} <= {"ok", "warn"}
    assert "it starts with the gateway" in output


@pytest.mark.parametrize(("found", "state"), [(None, "warn"), (0, "warn"), (1, "ok"), (2, "ok")])
def test_there_are_replicas_to_wait_for(found: int | None, state: str) -> None:
    assert doctor_store.replicas(found, 1).state == state
