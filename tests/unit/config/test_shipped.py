"""The files that come with the gateway are good and current."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.config import check, docs, load_file, schema
from gateway.config.models import Settings
from gateway.domain.model_id import parse_model_id
from tests.unit.config.loading import loaded
from tests.unit.config.test_models import EVERY_FIELD

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "config" / "gateway.yaml"
UPDATE = "run `python3 dev.py docs`"


def test_the_shipped_file_serves_the_demo_by_itself() -> None:
    settings = load_file(SHIPPED, {})
    assert [name for name, upstream in settings.upstreams.items() if upstream.enabled] == ["demo"]
    assert settings.store.data_dir == ROOT / "data"
    assert [problem.path for problem in check(settings)] == ["upstreams.openai"]
    for alias in settings.aliases.values():
        parsed = parse_model_id(alias.model)
        assert (parsed.org, parsed.base) == ("demo", "gpt-4.1-mini-2025-04-14")


def test_with_a_key_it_also_serves_the_official_api() -> None:
    settings = load_file(SHIPPED, {"OPENAI_API_KEY": "sk-test"})
    assert check(settings) == []
    assert settings.upstreams["openai"].enabled
    # A simulated alias never spends real money: its fallback stays on the demo upstream.
    assert settings.aliases["support"].fallbacks[0].upstream_order == (("demo", None),)


def test_the_schema_is_current() -> None:
    assert (ROOT / "config" / "gateway.schema.json").read_text("utf-8") == schema.render(), UPDATE


def test_the_documentation_is_current() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == docs.render(), UPDATE


def test_every_block_is_documented() -> None:
    page = docs.render()
    for name in Settings.model_fields:
        assert f"### `{name}" in page


class TestSchema:
    VALIDATOR = Draft202012Validator(json.loads(schema.render()))

    def test_it_is_a_schema(self) -> None:
        Draft202012Validator.check_schema(json.loads(schema.render()))

    @pytest.mark.parametrize(
        "text", [SHIPPED.read_text("utf-8"), EVERY_FIELD], ids=["shipped", "every field"]
    )
    def test_it_accepts_what_loads(self, text: str) -> None:
        self.VALIDATOR.validate(yaml.safe_load(text))

    @pytest.mark.parametrize(
        "text",
        [
            "server: {port: '${PORT}', workers: '${N:-2}'}",
            "admin: {metrics_auth: '${AUTH:-true}'}",
            "store: {durability: '${D:-always}'}",
            "upstreams: {a: {kind: '${K:-demo}', models: {v3: {set: {lora: [1]}}, v4: null}}}",
            "aliases: {s: {model: m, upstreams: {a: '${W:-80}'}, fallbacks: [x, {model: y}]}}",
        ],
    )
    def test_variables_may_stand_for_any_value(self, text: str) -> None:
        self.VALIDATOR.validate(yaml.safe_load(text))

    @pytest.mark.parametrize(
        "text",
        [
            "sever: {}",
            "server: {port: 70000}",
            "server: {port: 'eighty'}",
            "server: {keepalive_comment_s: 0}",
            "upstreams: {a: {kind: opnai}}",
            "upstreams: {a: {models: discovr}}",
            "aliases: {s: {}}",
            "aliases: {s: {model: m, upstreams: a}}",
            "aliases: {s: {model: m, fallback_on: [rejected]}}",
        ],
    )
    def test_it_refuses_what_does_not_load(self, text: str) -> None:
        assert not self.VALIDATOR.is_valid(yaml.safe_load(text))


def test_bounds_are_written_as_json_schema_does() -> None:
    text = schema.render()
    assert '"minimum": 0' in text
    assert '"exclusiveMinimum": 0' in text
    assert '"ge"' not in text


def test_a_loaded_file_knows_its_lines() -> None:
    settings = loaded("server:\n  port: 1\n")
    assert settings.places.line(("server", "port")) == 2
    assert settings.places.line(("server", "host")) == 1
    assert settings.places.line(("aliases", "s")) == 1
