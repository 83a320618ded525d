"""What a name means: aliases, fine-tuned ids and their owners, fallbacks, rewrites."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.catalog import Catalogue, StoredAlias, build
from gateway.config.loader import load
from gateway.config.models import Settings
from gateway.domain.errors import ModelNotAllowed, ModelNotFound
from gateway.domain.plan import Reason, Target
from gateway.domain.principal import Principal

FT = "ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123"
BASE = "gpt-4.1-mini-2025-04-14"
ANYONE = Principal("00aaaaaaaaaa", "anyone")


def settings(upstreams: dict[str, Any], aliases: dict[str, Any] | None = None, **blocks: Any) -> Settings:
    for upstream in upstreams.values():
        upstream.setdefault("base_url", "http://127.0.0.1:1/v1")
    text = yaml.safe_dump({"upstreams": upstreams, "aliases": aliases or {}} | blocks, sort_keys=False)
    return load(text, base=Path("/"), env={}, name="test.yaml")


def catalogue(upstreams: dict[str, Any], aliases: dict[str, Any] | None = None, **blocks: Any) -> Catalogue:
    return build(settings(upstreams, aliases, **blocks))


def places(target: Target) -> list[tuple[int, str, str]]:
    return [(c.step, c.upstream, c.model) for c in target.candidates]


class TestNames:
    def test_an_alias_comes_before_a_model_of_the_same_name(self) -> None:
        known = catalogue(
            {"a": {"models": ["support", "m"]}}, {"support": {"model": "m", "upstreams": ["a"]}}
        )

        assert known.resolve("support", ANYONE).candidates[0].model == "m"

    def test_what_nobody_serves_is_unknown_with_close_matches(self) -> None:
        known = catalogue({"a": {"models": ["m"]}}, {"support": {"model": "m"}})

        with pytest.raises(ModelNotFound, match="Did you mean `support`"):
            known.resolve("suport", ANYONE)

    def test_a_disabled_upstream_that_takes_any_id_knows_none(self) -> None:
        known = catalogue(
            {"a": {"api_keys": [""], "owns": ["acme"]}, "b": {"api_keys": [""], "models": ["m"]}}
        )

        with pytest.raises(ModelNotFound):
            known.resolve("suport", ANYONE)
        assert known.resolve("m", ANYONE).candidates[0].skip is Reason.DISABLED
        assert known.resolve(FT, ANYONE).candidates[0].skip is Reason.DISABLED

    def test_close_matches_do_not_tell_of_what_the_key_may_not_use(self) -> None:
        known = catalogue({"a": {"models": ["m"]}}, {"support": {"model": "m"}})
        other = Principal("00aaaaaaaaaa", "other", aliases=frozenset({"x"}))

        with pytest.raises(ModelNotFound) as caught:
            known.resolve("suport", other)
        assert "Did you mean" not in str(caught.value)

    def test_ids_are_opaque(self) -> None:
        known = catalogue({"a": {"models": ["accounts/Acme/models/x#y"]}})

        assert (
            known.resolve("accounts/Acme/models/x#y", ANYONE).candidates[0].model
            == "accounts/Acme/models/x#y"
        )
        with pytest.raises(ModelNotFound):
            known.resolve("accounts/acme/models/x#y", ANYONE)

    def test_names_from_clients_do_not_pile_up(self) -> None:
        known = catalogue({"a": {"models": None}})
        for n in range(10_000):
            known.resolve(f"m{n}", ANYONE)

        assert len(known._raw_targets) <= 4096


class TestKeys:
    def test_aliases_alone_refuse_raw_ids(self) -> None:
        known = catalogue({"a": {"models": ["m"]}}, {"support": {"model": "m"}, "other": {"model": "m"}})
        holder = Principal("00aaaaaaaaaa", "x", aliases=frozenset({"support"}))

        assert known.resolve("support", holder).alias == "support"
        for name in ("other", "m"):
            with pytest.raises(ModelNotAllowed):
                known.resolve(name, holder)

    def test_models_are_globs(self) -> None:
        known = catalogue({"a": {"models": ["gpt-4", "gpt-5", "x"]}})
        holder = Principal("00aaaaaaaaaa", "x", models=("gpt-*",))

        assert known.resolve("gpt-5", holder)
        with pytest.raises(ModelNotAllowed):
            known.resolve("x", holder)

    def test_aliases_only(self) -> None:
        known = catalogue({"a": {"models": ["m"]}}, {"support": {"model": "m"}})
        holder = Principal("00aaaaaaaaaa", "x", models="aliases-only")

        assert known.resolve("support", holder)
        with pytest.raises(ModelNotAllowed):
            known.resolve("m", holder)


class TestOwnership:
    def test_fine_tuned_ids_go_only_to_their_owners(self) -> None:
        known = catalogue({"a": {"owns": ["other"]}, "b": {"owns": ["acme"]}, "c": {"owns": ["*"]}, "d": {}})

        assert places(known.resolve(FT, ANYONE)) == [(0, "b", FT), (0, "c", FT)]

    def test_for_them_a_list_of_models_decides_nothing(self) -> None:
        known = catalogue({"a": {"owns": ["acme"], "models": ["gpt-4"]}, "b": {"models": [FT]}})

        assert places(known.resolve(FT, ANYONE)) == [(0, "a", FT)]

    def test_one_that_nobody_owns_is_unknown(self) -> None:
        with pytest.raises(ModelNotFound):
            catalogue({"a": {"models": None}}).resolve(FT, ANYONE)

    def test_others_go_to_whom_names_them_first(self) -> None:
        known = build(
            settings({"any": {}, "list": {"models": ["gpt-*"]}, "found": {"models": "discover"}}),
            None,
            {"found": [{"id": "gpt-4"}]},
        )

        assert places(known.resolve("gpt-4", ANYONE)) == [
            (0, "list", "gpt-4"),
            (0, "found", "gpt-4"),
            (0, "any", "gpt-4"),
        ]
        assert places(known.resolve("x", ANYONE)) == [(0, "any", "x")]


class TestAliases:
    def test_fallbacks_are_steps_and_base_is_read_out_of_the_id(self) -> None:
        known = catalogue(
            {"a": {"owns": ["acme"]}, "b": {"owns": ["acme"]}},
            {
                "s": {
                    "model": FT,
                    "upstreams": ["b", "a"],
                    "fallbacks": ["base", {"model": "luna", "upstreams": ["a"]}],
                }
            },
        )

        assert places(known.resolve("s", ANYONE)) == [
            (0, "b", FT),
            (0, "a", FT),
            (1, "a", BASE),
            (1, "b", BASE),
            (2, "a", "luna"),
        ]

    def test_a_fallback_that_is_an_alias_brings_its_chain(self) -> None:
        known = catalogue(
            {"a": {"models": None}},
            {"s": {"model": "m", "fallbacks": ["t"]}, "t": {"model": "n", "fallbacks": ["o", "m"]}},
        )

        assert places(known.resolve("s", ANYONE)) == [(0, "a", "m"), (1, "a", "n"), (2, "a", "o")]

    def test_a_fallback_may_ask_an_alias_elsewhere(self) -> None:
        known = catalogue(
            {"a": {}, "b": {}},
            {
                "s": {"model": "m", "upstreams": ["a"], "fallbacks": [{"model": "t", "upstreams": ["b"]}]},
                "t": {"model": "n", "upstreams": ["a"]},
            },
        )

        assert places(known.resolve("s", ANYONE)) == [(0, "a", "m"), (1, "b", "n")]

    def test_weights_stand_on_the_candidates(self) -> None:
        known = catalogue({"a": {}, "b": {}}, {"s": {"model": "m", "upstreams": {"a": 80, "b": 20}}})

        assert [c.weight for c in known.resolve("s", ANYONE).candidates] == [80, 20]

    def test_a_disabled_upstream_stays_and_says_why(self) -> None:
        known = catalogue({"a": {"api_keys": [""]}, "b": {}}, {"s": {"model": "m"}})

        assert [c.skip for c in known.resolve("s", ANYONE).candidates] == [Reason.DISABLED, None]

    def test_stored_aliases_replace_the_files(self) -> None:
        read = settings({"a": {}}, {"s": {"model": "m"}})

        known = build(read, {"t": StoredAlias({"model": "n"}, 7)}, None)

        assert known.resolve("t", ANYONE).release == "t@7/stable"
        assert known.resolve("s", ANYONE).alias is None  # now just an id that `a` may know

    def test_a_stored_alias_may_outlive_its_upstream(self) -> None:
        known = build(
            settings({"a": {}}), {"s": StoredAlias({"model": "m", "upstreams": ["gone", "a"]}, 1)}, None
        )

        assert [(c.upstream, c.skip) for c in known.resolve("s", ANYONE).candidates] == [
            ("gone", Reason.DISABLED),
            ("a", None),
        ]

    def test_shutdown_dates_are_the_configured_then_the_discovered_ones(self) -> None:
        read = settings(
            {
                "a": {"models": "discover", "shutdown_dates": {"m": "2027-01-14", "never*": None}},
            }
        )
        listed = [{"id": m, "shutdown_date": "2030-01-01"} for m in ("m", "n", "never-m")]

        known = build(read, None, {"a": listed})

        dates = {m: known.resolve(m, ANYONE).candidates[0].shutdown_date for m in ("m", "n", "never-m")}
        assert dates == {"m": "2027-01-14", "n": "2030-01-01", "never-m": None}
