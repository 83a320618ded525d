"""What this version does not have is refused in words, and passes where it is left at its default."""

from __future__ import annotations

import pytest

from gateway.config.availability import UNAVAILABLE, unavailable
from tests.unit.config.loading import loaded, said
from tests.unit.config.test_models import EVERY_FIELD

ASKED_FOR = {
    "aliases.s.cache": "aliases: {s: {model: m, cache: {ttl_s: 5}}}",
    "cache.enabled": "cache: {enabled: true}",
    "on_store_failure.cache": "on_store_failure: {cache: closed}",
}


@pytest.mark.parametrize("path", ASKED_FOR)
def test_it_is_refused(path: str) -> None:
    [line] = said(ASKED_FOR[path])
    assert line.startswith(f"f:1: {path}: ")
    assert line.endswith(": not available in this version")


def test_every_row_has_its_case() -> None:
    assert len(ASKED_FOR) == len(UNAVAILABLE)


def test_defaults_that_are_written_out_pass() -> None:
    assert list(unavailable(loaded(EVERY_FIELD))) == []
    assert said("aliases: {s: {model: m, hedge: false}}") == []
    assert said("store: {url: 'redis://h'}") == []


@pytest.mark.parametrize(
    "text",
    [
        "limits: {default: {rpm: 0, tpm: null, concurrency: 1000000000}, assumed_output_tokens: 1}",
        "on_store_failure: {limits: closed, budgets: open}",
        "on_store_failure: {limits: open, budgets: local}",
        "aliases: {s: {model: m, max_output_tokens: 5}}",
    ],
)
def test_bounds_of_keys_are_available(text: str) -> None:
    assert said(text) == []
