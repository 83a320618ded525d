"""Where Azure's routes are, however the base URL was written."""

from __future__ import annotations

import pytest

from gateway.upstream.azure import AzureTargets, azure_prefix


@pytest.mark.parametrize("path", ["", "/", "/openai", "/openai/", "/openai/v1", "/openai/v1/"])
def test_the_base_url_may_name_the_surface_or_not(path: str) -> None:
    assert azure_prefix(path, None) == azure_prefix(path, "preview") == "/openai/v1"
    assert azure_prefix(path, "2024-10-21") == "/openai"


def test_a_resource_may_stand_below_a_path() -> None:
    assert azure_prefix("/eu/openai", None) == "/eu/openai/v1"
    assert azure_prefix("/eu", "2024-10-21") == "/eu/openai"


def test_the_surface_with_deployments() -> None:
    targets = AzureTargets("/openai", "2024-10-21")
    assert targets("/chat/completions", "my dep/1") == (
        "/openai/deployments/my%20dep%2F1/chat/completions?api-version=2024-10-21"
    )
    assert targets("/models", None) == "/openai/models?api-version=2024-10-21"


def test_previews_of_the_v1_surface() -> None:
    targets = AzureTargets("/openai/v1", "preview")
    assert targets("/chat/completions", "dep") == "/openai/v1/chat/completions?api-version=preview"
