"""What must hold between the parts of the file."""

from __future__ import annotations

import pytest

from gateway.config.references import may_serve
from gateway.config.upstream import UpstreamSettings
from tests.unit.config.loading import said

UPSTREAMS = """\
upstreams:
  azure-eu: {base_url: https://eu/v1, owns: [acme, other]}
  vllm-a: {base_url: https://a/v1}
  any: {base_url: https://any/v1, owns: ["*"]}
"""
OWNED = "ft:gpt-4.1-mini-2025-04-14:acme:support:AbC123"


def aliases(text: str) -> list[str]:
    return [line.removeprefix("f:") for line in said(UPSTREAMS + "aliases:\n" + text)]


def test_an_unknown_upstream() -> None:
    assert aliases("  support: {model: m, upstreams: [azure-eu, azure-eu2]}") == [
        (
            '6: aliases.support.upstreams[1]: unknown upstream "azure-eu2"; did you mean "azure-eu"? '
            "known: azure-eu, vllm-a, any"
        )
    ]
    assert aliases("  support: {model: m, upstreams: {any: 1, vllm: 2}}") == [
        (
            '6: aliases.support.upstreams.vllm: unknown upstream "vllm"; did you mean "vllm-a"? '
            "known: azure-eu, vllm-a, any"
        )
    ]


def test_an_unknown_rewrite() -> None:
    fallback = "{model: x, rewrite: sol}"
    text = f"rewrites: {{luna: {{}}}}\naliases: {{s: {{model: m, rewrite: lunar, fallbacks: [{fallback}]}}}}"
    assert said(text) == [
        'f:2: aliases.s.rewrite: unknown rewrite "lunar"; did you mean "luna"? known: luna',
        'f:2: aliases.s.fallbacks[0].rewrite: unknown rewrite "sol"; known: luna',
    ]


class TestOwners:
    def test_a_named_upstream_owns_the_model(self) -> None:
        assert aliases(f"  s: {{model: '{OWNED}', upstreams: [azure-eu, any]}}") == []

    def test_or_it_is_a_mistake(self) -> None:
        assert aliases(f"  s: {{model: '{OWNED}', upstreams: [vllm-a, azure-eu]}}") == [
            (
                '6: aliases.s.upstreams[0]: upstream "vllm-a" does not own this model: '
                f'its owns lists nothing, and "{OWNED}" has the org segment "acme"'
            )
        ]
        rival = OWNED.replace("acme", "rival")
        assert aliases(f"  s: {{model: '{rival}', upstreams: {{azure-eu: 1}}}}") == [
            (
                '6: aliases.s.upstreams.azure-eu: upstream "azure-eu" does not own this model: '
                f'its owns lists "acme", "other", and "{rival}" has the org segment "rival"'
            )
        ]

    def test_the_same_holds_for_fallbacks_and_the_aliases_they_name(self) -> None:
        text = f"""\
  s: {{model: m, fallbacks: [{{model: '{OWNED}', upstreams: [vllm-a]}}, {{model: t, upstreams: [vllm-a]}}]}}
  t: {{model: '{OWNED}'}}
"""
        assert [line.partition(" does not own")[0] for line in aliases(text)] == [
            '6: aliases.s.fallbacks[0].upstreams[0]: upstream "vllm-a"',
            '6: aliases.s.fallbacks[1].upstreams[0]: upstream "vllm-a"',
        ]

    @pytest.mark.parametrize(
        "model", ["gpt-4o", "x.ft-" + "0" * 32, "accounts/a/models/m#d", "curie:ft-acme-x"]
    )
    def test_other_ids_have_no_owner(self, model: str) -> None:
        assert aliases(f"  s: {{model: '{model}', upstreams: [vllm-a]}}") == []


class TestBase:
    def test_it_is_read_from_the_id(self) -> None:
        assert aliases(f"  s: {{model: '{OWNED}', upstreams: [any], fallbacks: [base]}}") == []
        assert aliases(f"  s: {{model: '{OWNED}', fallbacks: [{{model: base, upstreams: [vllm-a]}}]}}") == []

    def test_an_id_without_one_has_no_base_to_fall_back_to(self) -> None:
        assert aliases("  s: {model: gpt-4o, fallbacks: [x, base]}") == [
            (
                '6: aliases.s.fallbacks[1]: "base" needs an ft: id to read it from, '
                'and the alias\'s model is "gpt-4o"'
            )
        ]


class TestCircles:
    def test_each_is_told_once(self) -> None:
        text = """\
  a: {model: m, fallbacks: [x, b]}
  b: {model: m, fallbacks: [c]}
  c: {model: m, fallbacks: [b, d]}
  d: {model: m, fallbacks: [{model: d}]}
  e: {model: m, fallbacks: [a, b, c]}
"""
        assert aliases(text) == [
            "7: aliases.b.fallbacks[0]: these fallbacks go in a circle: b -> c -> b",
            "9: aliases.d.fallbacks[0]: these fallbacks go in a circle: d -> d",
        ]

    def test_meeting_again_is_no_circle(self) -> None:
        text = """\
  a: {model: m, fallbacks: [b, c]}
  b: {model: m, fallbacks: [d]}
  c: {model: m, fallbacks: [d]}
  d: {model: a}
"""
        assert aliases(text) == []

    def test_long_chains_are_fine(self) -> None:
        chain = "".join(f"  a{n}: {{model: m, fallbacks: [a{n + 1}]}}\n" for n in range(1500))
        assert aliases(chain) == []
        assert len(aliases(chain + "  a1500: {model: m, fallbacks: [a0]}\n")) == 1


class TestUpstreams:
    def test_where_they_are(self) -> None:
        assert said("upstreams:\n  a: {api_keys: [k]}\n  d: {kind: demo, base_url: https://d/v1}\n") == [
            "f:2: upstreams.a.base_url: missing: where its API begins, such as https://api.openai.com/v1",
            "f:3: upstreams.d.base_url: kind demo runs inside Tunegate and has no base_url",
        ]

    def test_one_trains(self) -> None:
        text = "upstreams:\n" + "".join(f"  {name}: {{kind: demo, training: true}}\n" for name in "abc")
        assert said(text) == [
            "f:3: upstreams.b.training: at most one upstream trains, and a does already",
            "f:4: upstreams.c.training: at most one upstream trains, and a does already",
        ]

    def test_headers_are_one_whatever_their_case(self) -> None:
        assert said("upstreams: {a: {kind: demo, headers: {X-Team: a, x-team: b}}}") == [
            'f:1: upstreams.a.headers.x-team: the same header as "X-Team"'
        ]


@pytest.mark.parametrize(
    ("server", "admin", "clash"),
    [
        ("127.0.0.1, port: 80", "127.0.0.1, port: 80", True),
        ("0.0.0.0, port: 80", "127.0.0.1, port: 80", True),
        ("127.0.0.1, port: 80", "127.0.0.2, port: 80", False),
        ("127.0.0.1, port: 0", "127.0.0.1, port: 0", False),
        ("127.0.0.1, port: 8081", "127.0.0.1", True),
    ],
)
def test_the_two_planes_listen_apart(server: str, admin: str, clash: bool) -> None:
    text = f"server: {{host: {server}}}\nadmin: {{host: {admin}}}"
    assert (
        said(text) == ["f:2: admin.port: the data plane listens on this port already (server.port)"] * clash
    )


def test_who_may_serve_what() -> None:
    def upstream(**fields: object) -> UpstreamSettings:
        return UpstreamSettings.model_validate(fields)

    assert may_serve(upstream(), "gpt-4o")
    assert may_serve(upstream(models=["gpt-*"]), "gpt-4o")
    assert not may_serve(upstream(models=["gpt-*"]), "Gpt-4o")
    assert not may_serve(upstream(models=[]), "gpt-4o")
    assert may_serve(upstream(models={"v3": {}}), "v3")
    assert not may_serve(upstream(models={"v3": {}}), "v4")
    assert may_serve(upstream(models="discover"), "gpt-4o")
    assert may_serve(upstream(models=[], owns=["acme"]), OWNED)
    assert not may_serve(upstream(models=[OWNED], owns=["other"]), OWNED)
    assert not may_serve(upstream(), OWNED)


def test_the_embedded_store_has_no_replicas_to_wait_for() -> None:
    [line] = said("store: {wait_replicas: 1}")
    assert line.startswith("f:1: store.wait_replicas: the embedded server has no replicas")
    assert said("store: {wait_replicas: 1, url: 'redis://h'}") == []
