"""The blocks by themselves: defaults, helpers, what is equal to what."""

from __future__ import annotations

from datetime import date
from typing import get_args

import pytest
from pydantic import ValidationError

from gateway.config import AliasSettings, FallbackSettings, Settings, TimeoutOverrides, UpstreamSettings
from gateway.config.alias import FAILURES, FailureName
from gateway.domain.errors import FailureClass
from tests.unit.config.loading import BASE, loaded, said

EVERY_FIELD = """
server: {host: 127.0.0.1, port: 8080, workers: 1, max_body_bytes: 10485760, max_json_depth: 64,
         max_response_bytes: 67108864, max_connections: 8000, max_in_flight: 4000, max_queue: 1000,
         queue_timeout_s: 5, keepalive_comment_s: 15, write_stall_s: 30, header_timeout_s: 10,
         body_timeout_s: 30, drain_grace_s: 5, drain_timeout_s: 300, worker_unresponsive_s: 30,
         worker_memory_limit_bytes: null, worker_max_open_files: null}
admin:  {host: 127.0.0.1, port: 8081, metrics_auth: false}
reload: {watch: true}
store: {url: embedded, data_dir: data, durability: always, timeout_ms: 100, settle_timeout_ms: 250,
        wait_replicas: 0, cache_url: null, cache_memory_bytes: 67108864}
telemetry: {otlp_url: null, otlp_headers: {}, service_name: tunegate, sample_ratio: 1.0, interval_s: 5}
ledger: {retention_days: 90}
upstreams:
  relay:
    kind: openai
    base_url: https://relay.example/v1
    api_keys: []
    organization: null
    project: null
    owns: []
    training: false
    models: null
    stream_usage: true
    timeouts: {connect_s: 3, first_token_s: 60, idle_s: 60, total_s: 900}
    max_concurrency: 1000
    price_multiplier: 1.0
    transport: http1
    allow_private: true
    trace_context: false
    quirks: {}
    headers: {}
    shutdown_dates: {}
    prices: {}
    deployments: {}
    api_version: null
    auth: key
    entra_scope: https://cognitiveservices.azure.com/.default
    provider: null
    params: {}
aliases:
  support:
    model: gpt-4o
    upstreams: null
    fallbacks: []
    fallback_on: [connect, timeout, rate_limited, server_error, model_not_found, bad_response, credential]
    sunset: null
    defaults: {}
    rewrite: null
    timeouts: null
    cache: null
    hedge: false
    max_output_tokens: null
rewrites:
  luna: {drop: [], rename: {}, set: {}, system_prompt: null}
limits: {default: {rpm: 600, tpm: 1000000, concurrency: 100}, assumed_output_tokens: 512}
cache: {enabled: false, ttl_s: 3600, max_entry_bytes: 1048576, nondeterministic: false, replay_pace_ms: 0}
prices: {}
on_store_failure: {limits: local, budgets: closed, cache: open}
"""
BARE = """
upstreams: {relay: {base_url: https://relay.example/v1}}
aliases: {support: {model: gpt-4o}}
rewrites: {luna: {}}
"""


def test_the_documented_defaults_are_those_of_the_models() -> None:
    assert loaded(EVERY_FIELD) == loaded(BARE)
    given = loaded(EVERY_FIELD)
    for block in (given, given.server, given.store, given.upstreams["relay"], given.aliases["support"]):
        assert block.model_fields_set == set(type(block).model_fields)


def test_a_section_whose_entries_are_commented_out_is_empty() -> None:
    assert loaded("server:\nupstreams:\naliases:\nstore:\n") == loaded("{}")


def test_everything_is_frozen() -> None:
    settings = loaded(BARE)
    with pytest.raises(ValidationError, match="frozen"):
        settings.server.port = 1  # type: ignore[misc]  # what must not be possible


def test_pydantics_own_messages_hide_what_they_were_given() -> None:
    with pytest.raises(ValidationError) as caught:
        UpstreamSettings.model_validate({"api_keys": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_settings_know_what_a_reload_changes() -> None:
    old, new = loaded(BARE), loaded("server: {port: 1}" + BARE)
    assert old.static != new.static
    assert old.dynamic == new.dynamic
    assert not isinstance(old.static, Settings)
    assert old.static.server == old.server
    assert set(type(old.static).model_fields) == {"server", "admin", "store", "telemetry"}


def test_settings_are_equal_where_files_say_the_same() -> None:
    assert loaded(BARE) == loaded("# moved down\n" + BARE)
    assert loaded(BARE) != loaded(BARE.replace("relay.example", "other.example"))
    assert loaded("upstreams: {r: {kind: demo, api_keys: [a]}}") != loaded(
        "upstreams: {r: {kind: demo, api_keys: [b]}}"
    )


class TestStore:
    @pytest.mark.parametrize(
        ("given", "meant"),
        [("../data", "/etc/data"), ("data", "/etc/tunegate/data"), ("/var/lib/t", "/var/lib/t")],
    )
    def test_paths_start_from_the_file(self, given: str, meant: str) -> None:
        assert str(loaded(f"store: {{data_dir: {given}}}").store.data_dir) == meant

    def test_so_does_the_default(self) -> None:
        assert loaded("{}").store.data_dir == BASE / "data"

    @pytest.mark.parametrize(
        "url",
        [
            "redis://h",
            "redis://u:p@h:1/2",
            "rediss://h",
            "unix:///run/v.sock?db=1",
            "redis+cluster://h1:1,h2:2",
            "rediss+cluster://u:p@h1",
            "redis+sentinel://h1:1,h2:2/service",
            "rediss+sentinel://u:p@h1/service/2?sentinel_password=x",
        ],
    )
    def test_a_server_of_ones_own(self, url: str) -> None:
        store = loaded(f"store: {{url: '{url}'}}").store
        assert (store.url, store.embedded) == (url, False)
        assert loaded("{}").store.embedded

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("redis+cluster://", "the store's URL has no host"),
            ("redis+cluster://u:p@", "the store's URL has no host"),
            ("redis+sentinel:///service", "the store's URL has no host"),
            ("redis+sentinel://h1:1,h2:2", "after the sentinels comes the name of their service"),
            ("redis+pair://h1:1,h2:2", "not a URL: its host or port cannot be read"),
        ],
    )
    def test_several_that_cannot_be(self, url: str, why: str) -> None:
        [line] = said(f"store: {{url: '{url}'}}")
        assert line.startswith(f"f:1: store.url: {why}")

    def test_its_password_is_not_shown(self) -> None:
        assert "hunter2" not in repr(loaded("store: {url: 'redis://:hunter2@h'}"))


class TestUpstream:
    def test_keys(self) -> None:
        def keys(*values: str) -> UpstreamSettings:
            return UpstreamSettings.model_validate({"api_keys": values})

        some = keys("", "k1", "", "k2")
        assert [key.get_secret_value() for key in some.credentials] == ["k1", "k2"]
        assert (some.enabled, some.anonymous) == (True, False)
        assert (keys("", "").enabled, keys("", "").anonymous) == (False, False)
        assert (keys().enabled, keys().anonymous, keys().credentials) == (True, True, ())
        assert "k1" not in repr(some)

    def test_models(self) -> None:
        anything = UpstreamSettings()
        assert (anything.listed, anything.discovers) == (None, False)
        listed = UpstreamSettings.model_validate({"models": ["a", "b-*"]})
        assert (listed.listed, listed.adapter("a")) == (("a", "b-*"), {})
        discovering = UpstreamSettings(models="discover")
        assert (discovering.listed, discovering.discovers) == (None, True)
        chosen = UpstreamSettings.model_validate(
            {"models": {"v3": {"set": {"lora": [{"id": 0}]}}, "plain": None}}
        )
        assert chosen.listed == ("v3", "plain")
        assert chosen.adapter("v3") == {"lora": [{"id": 0}]}
        assert chosen.adapter("plain") == chosen.adapter("other") == {}

    def test_a_base_url_loses_its_last_slash(self) -> None:
        assert UpstreamSettings(base_url="http://127.0.0.1:8000/v1/").base_url == "http://127.0.0.1:8000/v1"
        assert UpstreamSettings(base_url="https://[::1]:8443").base_url == "https://[::1]:8443"

    def test_days_are_dates_or_text(self) -> None:
        given = {"shutdown_dates": {"a": "2027-01-14", "b": date(2027, 1, 14), "c": None}}
        assert UpstreamSettings.model_validate(given).shutdown_dates == {
            "a": date(2027, 1, 14),
            "b": date(2027, 1, 14),
            "c": None,
        }

    def test_timeouts_of_an_alias_name_only_what_they_replace(self) -> None:
        assert TimeoutOverrides(idle_s=5).given == {"idle_s": 5}
        assert TimeoutOverrides().given == {}

    def test_header_values_are_secret(self) -> None:
        upstream = UpstreamSettings.model_validate({"headers": {"x-team": "hunter2"}})
        assert upstream.headers["x-team"].get_secret_value() == "hunter2"
        assert "hunter2" not in repr(upstream)


class TestAlias:
    def test_upstreams_in_order_or_by_weight(self) -> None:
        def order(upstreams: object) -> object:
            return AliasSettings.model_validate({"model": "m", "upstreams": upstreams}).upstream_order

        assert order(None) is None
        assert order(["b", "a"]) == (("b", None), ("a", None))
        assert order({"b": 80, "a": 20, "c": 0}) == (("b", 80), ("a", 20), ("c", 0))

    def test_fallbacks_are_names_or_blocks(self) -> None:
        alias = AliasSettings.model_validate(
            {"model": "m", "fallbacks": ["base", {"model": "x", "upstreams": ["u"], "rewrite": "r"}]}
        )
        assert alias.fallbacks[0] == FallbackSettings(model="base")
        assert alias.fallbacks[0].upstream_order is None
        assert alias.fallbacks[1].upstream_order == (("u", None),)
        assert alias.fallbacks[1].rewrite == "r"

    @pytest.mark.parametrize("upstreams", [["a"], {"a": 1, "b": 2}, None])
    def test_it_survives_json(self, upstreams: object) -> None:
        alias = AliasSettings.model_validate(
            {
                "model": "m",
                "upstreams": upstreams,
                "fallbacks": ["base", {"model": "x", "upstreams": upstreams}],
                "defaults": {"temperature": 0.2},
                "timeouts": {"idle_s": 1.5},
            }
        )
        assert AliasSettings.model_validate_json(alias.model_dump_json()) == alias
        assert AliasSettings.model_validate(alias.model_dump(mode="json", exclude_unset=True)) == alias

    def test_classes_of_failure_are_those_of_the_domain(self) -> None:
        assert set(get_args(FailureName)) == {each.value for each in FailureClass} - {"rejected"}
        assert get_args(FailureName) == FAILURES
