"""Which contender is given which loads, and how the others are set up."""

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[3] / "bench"
LOCK = json.loads((BENCH / "portkey" / "package-lock.json").read_text("utf-8"))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    import loads  # noqa: PLC0415 - found through the path above

    return loads


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    import peers  # noqa: PLC0415 - found through the path above

    return peers


def test_who_answers_one_question_is_asked_no_other(loads: ModuleType):
    everything = list(loads.TESTS)
    assert loads.tests_of("tunegate-2w", everything) == ["json-c64"]
    assert loads.tests_of("tunegate-cache", everything) == ["cached-c64"]
    assert loads.tests_of("tunegate-2w", ["stream-500"]) == []
    assert loads.tests_of("nginx", everything) == [name for name in everything if name != "cached-c64"]


def test_every_load_that_is_named_exists(loads: ModuleType):
    named = {
        *loads.ON_REQUEST,
        *loads.BESIDE_PEERS,
        *(each for own in loads.OWN_TESTS.values() for each in own),
    }
    assert named <= set(loads.TESTS)
    assert not set(loads.ALIASES) & set(loads.KEPT)


def test_litellm_tries_once_and_counts_in_the_store(peers: ModuleType):
    config = peers.litellm_config("http://upstream/v1", ["mock-n20"], 6379)
    assert config["router_settings"]["num_retries"] == config["litellm_settings"]["num_retries"] == 0
    assert config["litellm_settings"]["telemetry"] is False
    assert config["general_settings"]["coordination_redis"]["port"] == 6379
    (model,) = config["model_list"]
    assert model["model_name"] == "mock-n20"
    assert model["litellm_params"]["model"] == "openai/mock-n20"
    assert model["litellm_params"]["max_retries"] == 0


def test_what_is_not_here_is_said_with_the_line_that_installs_it(
    peers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(peers, "LITELLM", tmp_path / "litellm")
    lines = peers.missing(peers.NAMES)
    assert [line.split(" ")[0].rstrip(",") for line in lines] == ["litellm", "node", "npm"]
    assert all("dev.py bench --peers" in line or "apt-get install nodejs npm" in line for line in lines)
    assert peers.missing(["nginx", "tunegate"]) == []


def test_the_peers_are_the_versions_that_were_set_up(peers: ModuleType):
    assert peers.versions() == {"litellm": "1.106.2", "portkey": "1.15.2"}
    assert LOCK["packages"]["node_modules/@portkey-ai/gateway"]["version"] == "1.15.2"


def test_every_file_of_portkey_is_known_by_its_hash_and_none_by_an_address():
    packages = {name: package for name, package in LOCK["packages"].items() if name}
    assert packages
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not re.search(r"https?:|://|resolved", json.dumps(LOCK))
