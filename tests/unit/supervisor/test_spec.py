import json
from pathlib import Path

import pytest

from gateway.supervisor.spec import MODULES, Address, CacheSpec, HealthSpec, Spec, StoreSpec, read_spec

RAW = {
    "config_path": "/etc/tunegate/gateway.yaml",
    "runtime_dir": "/tmp/tunegate-x",  # noqa: S108  # only a name here
    "data": {"host": "127.0.0.1", "port": 8080},
    "admin": {"host": "::1", "port": 0},
    "workers": 2,
    "store": {"embedded": True, "data_dir": "/var/lib/tunegate", "durability": "everysec"},
    "cache": {"is_wanted": True, "memory_bytes": 8388608},
    "demo": False,
    "drain_grace_s": 1.5,
    "drain_timeout_s": 30,
    "health": {"unresponsive_s": 30, "memory_bytes": None, "open_files": 500},
}


def write(path: Path, raw: object) -> Path:
    path.write_text(json.dumps(raw))
    return path


def test_every_field_is_read(tmp_path: Path) -> None:
    assert read_spec(write(tmp_path / "spec.json", RAW)) == Spec(
        config_path=Path("/etc/tunegate/gateway.yaml"),
        runtime_dir=Path("/tmp/tunegate-x"),  # noqa: S108  # only a name here
        data=Address("127.0.0.1", 8080),
        admin=Address("::1", 0),
        workers=2,
        store=StoreSpec(embedded=True, data_dir=Path("/var/lib/tunegate"), durability="everysec"),
        cache=CacheSpec(is_wanted=True, memory_bytes=8388608),
        demo=False,
        drain_grace_s=1.5,
        drain_timeout_s=30,
        health=HealthSpec(unresponsive_s=30, memory_bytes=None, open_files=500),
        modules=MODULES,
    )


def test_a_gateway_may_have_no_server_for_the_cache(tmp_path: Path) -> None:
    assert read_spec(write(tmp_path / "spec.json", {**RAW, "cache": None})).cache is None


def test_modules_can_be_replaced_one_by_one(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path / "spec.json", {**RAW, "modules": {"worker": "mine"}}))
    assert spec.modules == {"demo": "gateway.demo", "control": "gateway.control", "worker": "mine"}


@pytest.mark.parametrize("field", RAW)
def test_a_missing_field_is_an_error(tmp_path: Path, field: str) -> None:
    with pytest.raises(KeyError, match=field):
        read_spec(write(tmp_path / "spec.json", {k: v for k, v in RAW.items() if k != field}))
