from pathlib import Path

import pytest

from gateway.config import Settings, load
from gateway.control.active_text import with_blocks_of, with_overrides

FILE = """\
# a comment
server:
  port: 8080
  workers: ${WORKERS:-2}   # two
store:
  url: redis://somewhere
upstreams:
  local:
    base_url: http://127.0.0.1:9/v1
    api_keys: ["${KEY}"]
    models:
      tuned:
        set: {scale: 1.0, flag: "true", sure: true, on: on, time: 1:30, day: 2026-01-01, text: "${NUMBER}"}
      other:
        set:
          number: ${NUMBER}
aliases:
  on: {model: gpt-x, upstreams: {local: 1}}
rewrites:
  r:
    set: &set {a: [1, {b: null}]}
    system_prompt: |
      Two
        lines: é 😀
  again: {set: *set}
"""
ENVIRONMENT = {"KEY": "sk-1", "NUMBER": "1e3"}


def settings_of(text: str) -> Settings:
    return load(text, base=Path("/etc/tunegate"), env=ENVIRONMENT, name="gateway.yaml")


def test_without_overrides_the_text_is_the_file_itself() -> None:
    assert with_overrides(FILE, {}) is FILE


def test_an_override_beats_the_file_and_changes_nothing_else() -> None:
    before = settings_of(FILE)
    after = settings_of(with_overrides(FILE, {"server": {"port": 0}, "admin": {"port": 5}}))
    assert (after.server.port, after.server.workers, after.admin.port) == (0, 2, 5)
    assert after.dynamic == before.dynamic
    assert after.store == before.store


def test_a_path_may_hold_anything() -> None:
    after = settings_of(with_overrides(FILE, {"store": {"data_dir": '/a b/"c"/${KEY}: #d'}}))
    assert str(after.store.data_dir) == '/a b/"c"/${KEY}: #d'
    assert after.store.url == "redis://somewhere"


@pytest.mark.parametrize("text", ["{}", '{"upstreams": {}}', "upstreams:\n", "\ufeffupstreams:\n"])
def test_an_override_finds_no_block(text: str) -> None:
    assert settings_of(with_overrides(text, {"server": {"port": 1}})).server.port == 1


def test_blocks_of_another_text_replace_those_of_this_one() -> None:
    fresh = '{"server": {"port": 9999}, "admin": {"port": 9998}, "aliases": {"a": {"model": "m"}}}'
    mixed = settings_of(with_blocks_of(fresh, FILE, ("server", "admin", "store")))
    assert mixed.static == settings_of(FILE).static
    assert mixed.dynamic == settings_of(fresh).dynamic


def test_the_other_way_round_quotes_are_kept_too() -> None:
    mixed = settings_of(with_blocks_of(FILE, "{server: {port: 1}}", ("server", "admin", "store")))
    assert mixed.dynamic == settings_of(FILE).dynamic
    assert mixed.server.port == 1
