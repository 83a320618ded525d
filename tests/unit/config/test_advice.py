"""Warnings about files that load."""

from __future__ import annotations

from tests.unit.config.loading import warned

UPSTREAMS = """\
upstreams:
  off: {base_url: https://a/v1, api_keys: ["${KEY:-}", ""], owns: [acme]}
  on: {base_url: https://b/v1, models: [gpt-*], owns: [other]}
aliases:
"""
OFF = "f:2: upstreams.off: disabled: every entry of api_keys is empty"


def aliases(text: str) -> list[str]:
    first, *others = warned(UPSTREAMS + text)
    assert first == OFF
    return others


def test_a_file_without_upstreams() -> None:
    assert warned("{}") == ["f:1: upstreams: no upstream is configured: every call will be 404"]


def test_a_good_file_has_none() -> None:
    assert warned(UPSTREAMS + "  s: {model: gpt-4o}", {"KEY": "k"}) == []


def test_an_alias_that_nobody_serves() -> None:
    assert aliases("  s: {model: gpt-4o, upstreams: [off]}") == [
        "f:5: aliases.s: no enabled upstream serves its model: calls get 503 no_upstream"
    ]
    assert aliases("  s: {model: 'ft:gpt-4o:acme::x'}") == [
        "f:5: aliases.s: no enabled upstream serves its model: calls get 503 no_upstream"
    ]
    assert aliases("  s: {model: claude, upstreams: [on]}") == [
        "f:5: aliases.s: no enabled upstream serves its model: calls get 503 no_upstream"
    ]
    assert aliases("  s: {model: gpt-4o, upstreams: [off, on]}") == []


def test_fallbacks_that_serve_are_told() -> None:
    assert aliases("  s: {model: 'ft:gpt-4o:acme::x', fallbacks: [base]}") == [
        "f:5: aliases.s: no enabled upstream serves its model: its fallbacks serve"
    ]
    assert aliases("  s: {model: gpt-4o, fallbacks: [claude]}") == [
        "f:5: aliases.s.fallbacks[0]: no enabled upstream serves this fallback"
    ]


def test_a_fallback_to_an_alias_goes_where_that_alias_goes() -> None:
    assert aliases("  s: {model: gpt-4o, fallbacks: [t]}\n  t: {model: gpt-5, upstreams: [off]}") == [
        "f:5: aliases.s.fallbacks[0]: no enabled upstream serves this fallback",
        "f:6: aliases.t: no enabled upstream serves its model: calls get 503 no_upstream",
    ]


def test_names_that_differ_in_case_only() -> None:
    assert aliases("  s: {model: gpt-4o}\n  S: {model: gpt-4o}") == [
        'f:6: aliases.S: differs from "s" only in case: they are two aliases'
    ]
