"""Tests of other folders, for modules that run them on a cluster."""

from collections.abc import Collection
from types import ModuleType
from typing import Any

from _pytest.fixtures import FixtureFunctionDefinition


def borrowed(*modules: ModuleType, but: Collection[str] = ()) -> dict[str, Any]:
    """Tests and fixtures of some modules by name, `but` those that this folder does without."""
    found: dict[str, Any] = {}
    for module in modules:
        for name, value in vars(module).items():
            is_fixture = isinstance(value, FixtureFunctionDefinition)
            if (is_fixture or name.startswith(("test_", "Test"))) and name not in but:
                assert name not in found, f"two modules have a {name}"
                found[name] = value
    unknown = set(but) - {name for module in modules for name in vars(module)}
    assert not unknown, unknown
    return found
