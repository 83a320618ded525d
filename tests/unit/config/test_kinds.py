"""What each kind of upstream needs, and what only some kinds have."""

from __future__ import annotations

import pytest

from tests.unit.config.loading import loaded, said

AZURE = "kind: azure, base_url: 'https://a.openai.azure.com'"


def findings(block: str) -> list[str]:
    """What is said of one upstream, without line and path of the upstream."""
    return [line.removeprefix("f:1: upstreams.a.") for line in said(f"upstreams: {{a: {{{block}}}}}")]


@pytest.mark.parametrize(
    "block",
    [
        f"{AZURE}, deployments: {{m: d}}",
        f"{AZURE}, models: [dep-1]",
        f"{AZURE}, deployments: {{m: d}}, api_version: 2024-10-21",
        f"{AZURE}, deployments: {{m: d}}, api_version: 2025-04-01-preview",
        f"{AZURE}, deployments: {{m: d}}, api_version: preview, auth: entra",
        f"{AZURE}, deployments: {{m: d}}, quirks: {{developer_role: false}}",
        "base_url: 'https://a/v1', quirks: {max_tokens: max_tokens, refuses: [store, user]}",
    ],
)
def test_it_is_taken(block: str) -> None:
    assert findings(block) == []


@pytest.mark.parametrize(
    ("block", "finding"),
    [
        (AZURE, "deployments: missing: kind azure serves the ids named here, and those of models"),
        (
            f"{AZURE}, models: discover",
            "models: kind azure lists what it could deploy, not what it has: name its deployments",
        ),
        (
            "kind: azure, deployments: {m: d}",
            "base_url: missing: where its API begins, such as https://api.openai.com/v1",
        ),
        ("kind: demo, deployments: {m: d}", "deployments: only kind azure has this"),
        ("base_url: 'https://a', api_version: preview", "api_version: only kind azure has this"),
        ("base_url: 'https://a', auth: entra", "auth: only kind azure has this"),
        ("base_url: 'https://a', entra_scope: 'https://b/.default'", "entra_scope: only kind azure has this"),
        (
            f"{AZURE}, deployments: {{m: d}}, auth: entra, api_keys: [k]",
            "api_keys: auth: entra sends a token and no key",
        ),
        ("kind: demo, quirks: {n: false}", "quirks: kind demo has none"),
        (
            "base_url: 'https://a', models: discover, quirks: {model_list: false}",
            "models: it has no list to discover (quirks.model_list): write its models down",
        ),
    ],
)
def test_it_is_refused(block: str, finding: str) -> None:
    assert findings(block) == [finding]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (f"{AZURE}, deployments: {{m: d}}, api_version: '2024'", "a version is a day, such as 2024-10-21"),
        (f"{AZURE}, deployments: {{m: a/b}}", "a deployment is named with letters"),
        (f"{AZURE}, deployments: {{m: d}}, entra_scope: x", "a scope is a URL that ends with /.default"),
        ("base_url: 'https://a', quirks: {developer: false}", 'unknown field "developer"; did you mean'),
        ("base_url: 'https://a', quirks: {refuses: [n]}", "say n: false"),
        (
            "base_url: 'https://a', quirks: {system_messages: one}",
            'did you mean "none"? known: any, first, none',
        ),
    ],
)
def test_values_are_held_to_their_form(block: str, words: str) -> None:
    [line] = findings(block)
    assert words in line


def test_azure_serves_its_deployments_and_nothing_else() -> None:
    azure = loaded(f"upstreams: {{a: {{{AZURE}, deployments: {{m: d}}, models: [dep-1]}}}}").upstreams["a"]
    assert azure.listed == ("m", "dep-1")
    assert (azure.deployment("m"), azure.deployment("dep-1")) == ("d", "dep-1")
    aliases = "aliases: {s: {model: other, upstreams: [a]}}"
    lines = said(f"upstreams: {{a: {{{AZURE}, deployments: {{m: d}}}}}}\n{aliases}")
    assert lines == []


def test_other_kinds_know_no_deployments() -> None:
    assert loaded("upstreams: {a: {base_url: 'https://a'}}").upstreams["a"].deployment("m") is None
