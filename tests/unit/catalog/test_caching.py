"""Whose answers are kept, how, and what makes them another target's."""

from typing import Any

import pytest

from gateway.catalog import StoredAlias, build
from gateway.config.models import Settings
from gateway.domain.cache import CachePolicy
from gateway.domain.principal import Principal

ANYONE = Principal("00aaaaaaaaaa", "anyone")
UPSTREAM = {"base_url": "http://127.0.0.1:1/v1", "models": ["m", "n"]}
FILE: dict[str, Any] = {
    "upstreams": {"a": UPSTREAM, "b": {**UPSTREAM, "models": ["other"]}},
    "aliases": {"s": {"model": "m"}},
    "cache": {"enabled": True},
}


def policy(
    name: str = "s", *, alias: dict[str, Any] | None = None, revision: int | None = None, **blocks: Any
) -> CachePolicy | None:
    file = {**FILE, **blocks}
    if alias is not None:
        file["aliases"] = {"s": {"model": "m", **alias}}
    stored = None if revision is None else {"s": StoredAlias(file["aliases"]["s"], revision)}
    return build(Settings.model_validate(file), stored).resolve(name, ANYONE).cache


def fingerprint(**changes: Any) -> bytes:
    found = policy(**changes)
    assert found is not None
    return found.fingerprint


class TestWho:
    def test_nobody_by_default(self) -> None:
        assert policy(cache={}) is None
        assert policy("m", cache={}) is None

    def test_aliases_and_models_where_it_is_on(self) -> None:
        assert policy() is not None
        assert policy("m") is not None

    def test_an_alias_has_its_own_say(self) -> None:
        assert policy(alias={"cache": {"enabled": False}}) is None
        assert policy(alias={"cache": {"enabled": True}}, cache={}) is not None
        own = policy(alias={"cache": {"ttl_s": 5, "replay_pace_ms": 7, "nondeterministic": True}})
        assert own is not None
        assert (own.ttl_s, own.max_entry_bytes, own.nondeterministic, own.replay_pace_ms) == (
            5,
            1_048_576,
            True,
            7,
        )


CHANGES: dict[str, dict[str, Any]] = {
    "another model": {"alias": {"model": "n"}},
    "another revision": {"revision": 2},
    "a default": {"alias": {"defaults": {"temperature": 0}}},
    "another upstream": {"alias": {"upstreams": ["b"]}},
    "another address": {
        "upstreams": {**FILE["upstreams"], "a": {**UPSTREAM, "base_url": "http://127.0.0.1:2/v1"}}
    },
    "another header": {"upstreams": {**FILE["upstreams"], "a": {**UPSTREAM, "headers": {"x-a": "1"}}}},
    "an adapter": {
        "upstreams": {
            **FILE["upstreams"],
            "a": {**UPSTREAM, "models": {"m": {"set": {"lora": 1}}}},
        }
    },
    "a rewrite": {"alias": {"rewrite": "r"}, "rewrites": {"r": {"set": {"x": 1}}}},
    "the same rewrite, changed": {"alias": {"rewrite": "r"}, "rewrites": {"r": {"set": {"x": 2}}}},
    "its prompt": {"alias": {"rewrite": "r"}, "rewrites": {"r": {"system_prompt": "Be kind."}}},
}


class TestFingerprint:
    def test_all_that_changes_an_answer_counts(self) -> None:
        found = [fingerprint(), *(fingerprint(**change) for change in CHANGES.values())]

        assert len(set(found)) == len(found)

    @pytest.mark.parametrize(
        "change",
        [
            {"upstreams": {**FILE["upstreams"], "a": {**UPSTREAM, "api_keys": ["k"], "max_concurrency": 3}}},
            {"alias": {"timeouts": {"idle_s": 5}, "fallbacks": ["other"]}},
            {"cache": {"enabled": True, "ttl_s": 1}},
        ],
        ids=["credentials", "what happens when it fails", "how long it is kept"],
    )
    def test_nothing_else_does(self, change: dict[str, Any]) -> None:
        assert fingerprint(**change) == fingerprint()

    def test_is_the_same_in_every_process(self) -> None:
        assert fingerprint() == fingerprint()
