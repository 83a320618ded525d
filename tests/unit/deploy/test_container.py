"""The Dockerfile, what it copies, and compose.yaml: what can be known without building."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import check, load

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def copied() -> list[str]:
    """What the Dockerfile takes from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [name.removeprefix("./") for line in lines for name in line.split()]


def test_what_is_copied_is_there_and_nothing_else_is_sent() -> None:
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    sent = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    assert "*" in ignore
    assert sorted(sent) == sorted(copied())
    assert all((ROOT / name).exists() for name in sent)
    assert not any(fnmatch(".env", name) for name in sent)


def test_packages_come_by_their_hash_and_every_stage_from_the_base() -> None:
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${BASE_IMAGE}"}
    installs = re.findall(r"pip install ([^\n]+)", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index --no-deps" in line for line in installs)


def test_its_own_configuration_listens_where_the_image_says() -> None:
    text = (ROOT / "config/container.yaml").read_text("utf-8")
    settings = load(text, base=ROOT / "config", env={"OPENAI_API_KEY": "x"}, name="container.yaml")
    assert check(settings) == []
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 8080)
    assert (settings.admin.host, settings.admin.port) == ("0.0.0.0", 8081)
    assert settings.store.embedded
    assert str(settings.store.data_dir) == "/var/lib/tunegate"


@pytest.fixture
def environment() -> dict[str, str]:
    """What compose gives the gateway, its own variables being set."""
    given = {"TUNEGATE_ADMIN_KEY": "word", "VALKEY_PASSWORD": "secret"}

    def value(found: re.Match[str]) -> str:
        return given.get(found[1], "")

    variables = COMPOSE["services"]["gateway"]["environment"].items()
    return {name: re.sub(r"\$\{(\w+)(?::[^}]*)?\}", value, text) for name, text in variables}


def test_what_compose_mounts_is_a_configuration_that_finds_its_store(environment: dict[str, str]) -> None:
    mounts = [volume.split(":") for volume in COMPOSE["services"]["gateway"]["volumes"]]
    (source, _, mode), *_ = [each for each in mounts if each[1] == "/etc/tunegate/gateway.yaml"]
    assert mode == "ro"
    file = ROOT / source
    settings = load(file.read_text("utf-8"), base=file.parent, env=environment, name=source)
    assert "valkey" in COMPOSE["services"]
    assert settings.store.url == "redis://:secret@valkey:6379/0"


def test_compose_names_what_it_uses() -> None:
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            name = volume.partition(":")[0]
            assert name.startswith("./") or name in COMPOSE["volumes"]
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
    assert COMPOSE["services"]["gateway"]["image"] == f"tunegate:{VERSION}"


def test_compose_locks_its_containers_down() -> None:
    for service in COMPOSE["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_drain_fits_into_what_compose_waits(environment: dict[str, str]) -> None:
    text = (ROOT / "config/container.yaml").read_text("utf-8")
    server = load(text, base=ROOT / "config", env=environment, name="container.yaml").server
    waits = COMPOSE["services"]["gateway"]["stop_grace_period"]
    assert float(waits.removesuffix("s")) >= server.drain_grace_s + server.drain_timeout_s + 20
