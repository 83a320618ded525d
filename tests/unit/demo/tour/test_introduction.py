import json
import shlex
from pathlib import Path

import pytest

from gateway.config.loader import load
from gateway.config.models import Settings
from gateway.demo.tour.http import CallFailed
from gateway.demo.tour.introduction import introduce
from gateway.demo.tour.keys import DevelopmentKeys
from tests.unit.demo.tour.conftest import Played

FILE = """
upstreams:
  demo: {kind: demo, owns: [demo], models: [gpt-4.1-mini-2025-04-14]}
  other: {base_url: "http://127.0.0.1:1", models: null}
aliases:
  second: {model: gpt-4.1-mini-2025-04-14}
  first: {model: gpt-4.1-mini-2025-04-14}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(FILE, base=tmp_path, env={}, name="f")


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DevelopmentKeys:
    monkeypatch.delenv("TUNEGATE_ADMIN_KEY", raising=False)
    return DevelopmentKeys.load(tmp_path, {})


def play(played: Played, models: list[str], attempts: list[str]) -> None:
    upstreams = [{"name": "demo", "state": "up"}, {"name": "other", "state": "disabled"}]
    played.answers = {
        "GET /v1/models": (200, {"data": [{"id": model} for model in models]}),
        "POST /admin/v1/keys": (200, {"key": "tg-new-key"}),
        "GET /admin/v1/upstreams": (200, {"data": upstreams}),
        "GET /admin/v1/explain": (200, {"attempts": [{"upstream": name} for name in attempts]}),
    }


def test_it_makes_a_key_and_names_the_first_alias_of_the_file(
    played: Played, settings: Settings, keys: DevelopmentKeys
) -> None:
    play(played, ["first", "raw", "second"], ["demo"])
    shown = introduce(played.url, played.url, settings, keys)
    assert shown.as_object() == {
        "data_url": played.url,
        "admin_url": played.url,
        "admin_key": keys.admin,
        "virtual_key": "tg-new-key",
        "model": "second",
        "simulated": True,
    }
    assert shown.upstreams == ("demo (simulated)", "other (disabled)")
    assert ("POST /admin/v1/keys", f"Bearer {keys.admin}", {"name": "development"}) in played.calls
    assert DevelopmentKeys.load(keys.path.parent, {}).virtual == "tg-new-key"


def test_a_key_that_works_is_used_again(played: Played, settings: Settings, keys: DevelopmentKeys) -> None:
    play(played, ["first"], ["demo", "other"])
    keys.virtual = "tg-old-key"
    shown = introduce(played.url, played.url, settings, keys)
    assert (shown.virtual_key, shown.model, shown.simulated) == ("tg-old-key", "first", False)
    assert not [name for name, _, _ in played.calls if name.startswith("POST")]


def test_a_key_that_the_gateway_does_not_know_is_made_anew(
    played: Played, settings: Settings, keys: DevelopmentKeys
) -> None:
    play(played, [], ["demo"])
    listed = {"Bearer tg-new-key": (200, {"data": [{"id": "raw"}]})}
    played.answers["GET /v1/models"] = (200, lambda key: listed.get(key, (401, {})))
    keys.virtual = "tg-old-key"
    shown = introduce(played.url, played.url, settings, keys)
    assert (shown.virtual_key, shown.model) == ("tg-new-key", "raw")


def test_the_last_line_can_be_pasted(played: Played, settings: Settings, keys: DevelopmentKeys) -> None:
    play(played, ["it's"], ["demo"])
    lines = introduce(played.url, played.url, settings, keys).as_text().splitlines()
    names = [line.partition(": ")[0] for line in lines[:-1]]
    assert names == ["data plane", "control plane", "admin key", "virtual key", "model", "upstreams"]
    command, flag, url, *rest = shlex.split(lines[-1])
    assert (command, flag, url) == ("curl", "-N", f"{played.url}/v1/chat/completions")
    body = json.loads(rest[rest.index("-d") + 1])
    assert (body["model"], body["stream"]) == ("it's", True)


def test_a_gateway_without_models_has_nothing_to_paste(
    played: Played, settings: Settings, keys: DevelopmentKeys
) -> None:
    play(played, [], [])
    shown = introduce(played.url, played.url, settings, keys)
    assert (shown.model, shown.simulated) == (None, False)
    assert "curl" not in shown.as_text()


def test_a_refusal_is_told_with_the_gateways_words(
    played: Played, settings: Settings, keys: DevelopmentKeys
) -> None:
    played.answers["POST /admin/v1/keys"] = (401, {"error": {"message": "wrong admin key"}})
    with pytest.raises(CallFailed, match=r"answered 401.*wrong admin key"):
        introduce(played.url, played.url, settings, keys)
