"""The chart's own files agree with each other and the gateway; tests/slow has what Helm makes of them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from gateway.config.models import Settings
from gateway.config.static import StaticSettings

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "tunegate"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text("utf-8"))
WHOLE = {"config", "resources", "podSecurityContext", "securityContext", "adminFrom", "egress", "behavior"}
"""Values that the README describes as one."""


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    for name, value in values.items():
        below = (*path, name)
        if isinstance(value, dict) and value and name not in WHOLE and not name.endswith("Probe"):
            yield from leaves(value, below)
        else:
            yield ".".join(below)


def merged(values: Any, over: Any) -> Any:
    """As Helm merges: maps by their keys, null takes away, all else replaces."""
    if not (isinstance(values, dict) and isinstance(over, dict)):
        return over
    names = [name for name in {**values, **over} if over.get(name, ...) is not None]
    return {name: merged(values.get(name), over[name]) if name in over else values[name] for name in names}


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert chart["appVersion"] == version
    assert chart["version"] == version


@pytest.mark.parametrize(
    "file", [None, *sorted((CHART / "ci").glob("*.yaml"))], ids=lambda file: file and file.stem
)
def test_values_are_as_the_schema_has_them(file: Path | None) -> None:
    over = yaml.safe_load(file.read_text("utf-8")) if file else {}
    problems = [error.message for error in Draft7Validator(SCHEMA).iter_errors(merged(VALUES, over))]
    assert problems == []


def test_the_schema_and_the_values_know_the_same_names() -> None:
    Draft7Validator.check_schema(SCHEMA)

    def names(schema: dict[str, Any], values: dict[str, Any], path: str) -> None:
        if schema.get("additionalProperties") is not False:
            return
        known = set(schema["properties"]) - {"global"}
        free = {"initialDelaySeconds", "successThreshold", "claims"}
        assert set(values) <= known, path
        if path != ".config":
            assert known - free == set(values), path
        for name, value in values.items():
            if isinstance(value, dict):
                names(schema["properties"][name], value, f"{path}.{name}")

    names(SCHEMA, VALUES, "")


def test_the_schema_knows_the_blocks_of_the_configuration() -> None:
    assert set(SCHEMA["properties"]["config"]["properties"]) == set(Settings.model_fields)


def test_pods_restart_for_what_a_reload_does_not_take() -> None:
    helpers = (CHART / "templates" / "_helpers.tpl").read_text("utf-8")
    (picked,) = re.findall(r"pick \$config ([^|]+) \| toJson", helpers)
    static = set(StaticSettings.model_fields)
    assert set(picked.replace('"', "").split()) == static
    readme = " ".join((CHART / "README.md").read_text("utf-8").split())
    page = " ".join((ROOT / "docs" / "kubernetes.md").read_text("utf-8").split())
    (blocks,) = re.findall(r"a change of its blocks (.+?), or of `secret", readme)
    assert set(re.findall(r"`(\w+)`", blocks)) == static
    (blocks,) = re.findall(r"without a restart, unless (.+?) or `secret", page)
    assert set(re.findall(r"`(\w+)`", blocks)) == static


def test_the_readme_has_every_value_and_its_default() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| ", (CHART / "README.md").read_text("utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == list(leaves(VALUES))
    for name, default in rows:
        value: Any = VALUES
        for part in name.split("."):
            value = value[part]
        if literal := re.fullmatch(r"`(.*)`", default):
            assert yaml.safe_load(literal[1]) == value, name
        else:
            assert isinstance(value, dict | list), f"{name}: a plain value stands as it is"
            assert value, name


def test_every_value_is_used() -> None:
    templates = "\n".join(path.read_text("utf-8") for path in (CHART / "templates").iterdir())
    for name in leaves(VALUES):
        whole = re.sub(
            r"(?<=image)\.(?!pullPolicy)\w+$", "", name
        )  # a helper takes repository, tag and digest
        assert f".Values.{whole}" in templates, name
    used = set(re.findall(r"\.Values\.([A-Za-z.]+[A-Za-z])", templates))
    for name in used:
        value: Any = VALUES
        for part in name.split("."):
            if part in ("server", "admin") and name.startswith("config."):
                break
            assert part in value, name
            value = value[part]


def test_the_alerts_are_those_of_the_repository() -> None:
    alerts = CHART / "files" / "alerts.yaml"
    assert alerts.resolve() == ROOT / "config" / "observability" / "alerts.yaml"
    assert yaml.safe_load(alerts.read_text("utf-8"))["groups"]
