"""From text to values: what YAML allows, what it does not, and `${VAR}`."""

from __future__ import annotations

import pytest

from gateway.config.document import read
from gateway.config.nodes import NotYaml
from gateway.config.scalars import Substituted
from tests.unit.config.loading import loaded, said


def test_json_is_yaml_too() -> None:
    assert read('{"a": [1, 2.5, "x", null, true, {"b": {}}], "c": 1e3}', {}).data == {
        "a": [1, 2.5, "x", None, True, {"b": {}}],
        "c": 1000,
    }


def test_keys_are_text_whatever_they_look_like() -> None:
    assert read("{on: 1, 404: 2, 2026-01-01: 3, ~: 4, 1e3: 5}", {}).data == {
        "on": 1,
        "404": 2,
        "2026-01-01": 3,
        "~": 4,
        "1e3": 5,
    }


def test_quotes_and_str_tags_make_text() -> None:
    assert read("""{a: "1", b: '1', c: !!str 1, d: ! 1, e: !!int "1"}""", {}).data == {
        "a": "1",
        "b": "1",
        "c": "1",
        "d": "1",
        "e": 1,
    }


def test_every_path_has_its_line() -> None:
    document = read("a:\n  b:\n  - x\n  - y\n  c: >\n    long\n    text\n", {})
    assert document.lines == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 3,
        ("a", "b", 1): 4,
        ("a", "c"): 5,
    }


def test_a_byte_order_mark_is_skipped() -> None:
    assert read("\ufeffa: 1", {}).data == {"a": 1}


class TestAnchors:
    def test_an_alias_repeats_a_value(self) -> None:
        assert read("{a: &x {b: [1]}, c: *x}", {}).data == {"a": {"b": [1]}, "c": {"b": [1]}}

    def test_a_merge_gives_way_to_own_keys_and_to_earlier_merges(self) -> None:
        text = """
            first: &first {a: 1, b: 1}
            second: &second {<<: *first, b: 2, c: 2}
            one: {<<: *second, c: 3}
            both: {<<: [*first, *second], d: 4}
            """
        data = read(text, {}).data
        assert data["one"] == {"a": 1, "b": 2, "c": 3}
        assert data["both"] == {"a": 1, "b": 1, "c": 2, "d": 4}

    def test_a_problem_in_a_merged_value_has_the_line_where_it_is_written(self) -> None:
        text = """\
            upstreams:
              a: &a
                base_url: https://a/v1
                transport: htp1
              b: {<<: *a, base_url: https://b/v1}
            """
        assert said(text) == [
            'f:4: upstreams.a.transport: unknown value "htp1"; did you mean "http1"? known: http1, httpx',
            'f:4: upstreams.b.transport: unknown value "htp1"; did you mean "http1"? known: http1, httpx',
        ]

    @pytest.mark.parametrize(
        "bomb",
        [
            "a0: &a0 [x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20)),
            "a0: &a0 {}\n"
            + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 20)),
            "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200)),
        ],
        ids=["wide", "merged", "deep"],
    )
    def test_expansion_is_bounded(self, bomb: str) -> None:
        with pytest.raises(NotYaml, match="expand to more than any configuration needs"):
            read(bomb, {})

    def test_nothing_refers_to_itself(self) -> None:
        assert said("a: &a [*a]") == ["f:1: *a refers to no anchor that is complete by here"]


BROKEN_YAML = {
    "": ["f: the file is empty"],
    "# only a comment\n": ["f: the file is empty"],
    "---\n...\n": ["f: the file is empty"],
    "just words": ["f:1: write a mapping: server:, upstreams:, aliases: and so on"],
    "[1, 2]": ["f:1: write a mapping: server:, upstreams:, aliases: and so on"],
    "server:\n\tport: 1\n": [
        (
            "f:2: not YAML: found character that cannot start any token "
            "(a tab stands before it: indent with spaces)"
        )
    ],
    "server: {port: 1": ["f:1: not YAML: did not find expected ',' or '}'"],
    "server: {port: 1}\nserver: {port: 2}\n": ["f:2: server: stands here twice, first on line 1"],
    "server: {port: 1}\n---\nserver: {port: 2}\n": ["f:2: one document only: remove this ---"],
    "server: {host: a\x00b}": ["f:1: character U+0000 is not allowed in YAML"],
    "server:\n  host: \ud800\n": ["f:2: character U+D800 is not allowed in YAML"],
    "[" * 100_000: ["f:1: nested deeper than 64 levels"],
    "a: " * 65: ["f:1: not YAML: mapping values are not allowed in this context"],
    "server: *nowhere": ["f:1: *nowhere refers to no anchor that is complete by here"],
    "upstreams: {a: {api_keys: [${KEY}]}}": [
        "f:1: not YAML: did not find expected ',' or ']' (put \"${...}\" in quotes)"
    ],
    "server: !!python/object/apply:os.system [id]": ["f:1: server: tags (!name) have no meaning here"],
    "server: {host: !secret x}": ["f:1: server.host: tags (!name) have no meaning here"],
    "{[1]: 2}": ["f:1: a key is a single name, not a list or a mapping"],
    "server: {<<: 1}": ["f:1: server: << takes a mapping or a list of mappings"],
}


@pytest.mark.parametrize("text", BROKEN_YAML, ids=range(len(BROKEN_YAML)))
def test_what_is_no_configuration_at_all(text: str) -> None:
    assert said(text) == BROKEN_YAML[text]


class TestVariables:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("${A}", "alpha"),
            ("x-${A}-${B}", "x-alpha-: [beta"),
            ("${NONE:-fallback}", "fallback"),
            ("${EMPTY:-fallback}", "fallback"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("$${A}", "${A}"),
            ("$$A $A $", "$$A $A $"),
            ("$${A} ${A}", "${A} alpha"),
        ],
    )
    def test_in_text(self, text: str, value: str) -> None:
        env = {"A": "alpha", "B": ": [beta", "EMPTY": ""}
        assert read(f"k: '{text}'", env).data == {"k": value}

    def test_a_value_with_yaml_in_it_stays_text(self) -> None:
        document = read("k: ${A}\nl: [x]", {"A": "a\n]}: &x 'y"})
        assert document.data == {"k": "a\n]}: &x 'y", "l": ["x"]}
        assert document.substituted == {("k",)}

    def test_values_are_not_substituted_again(self) -> None:
        assert read("k: ${A}", {"A": "${B}", "B": "no"}).data == {"k": "${B}"}

    def test_plain_is_remembered(self) -> None:
        data = read("{a: '${A}'}", {"A": "1"}).data | read("b: ${A}", {"A": "1"}).data
        assert [(type(data[key]), data[key].plain) for key in "ab"] == [
            (Substituted, False),
            (Substituted, True),
        ]

    @pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A:?no}", "${A", "${A:-${B}}", "${A:-$}"])
    def test_what_is_no_variable_is_said(self, text: str) -> None:
        assert said(f"server:\n  host: 'x{text}'", {"A": "a", "B": "b"}) == [
            (
                "f:2: server.host: write ${NAME} or ${NAME:-default} (a default holds no $ and no }); "
                "$${ is a literal ${"
            )
        ]

    def test_an_unset_one_is_said_once_with_its_place(self) -> None:
        text = """\
            server:
              port: ${PORT}
            upstreams:
              a:
                base_url: https://a/v1
                api_keys: ["${K}", "${K}${OTHER}"]
            """
        assert said(text) == [
            "f:2: server.port: PORT is not set in the environment; set it, or write ${PORT:-default}",
            "f:6: upstreams.a.api_keys[0]: K is not set in the environment; set it, or write ${K:-default}",
            "f:6: upstreams.a.api_keys[1]: K is not set in the environment; set it, or write ${K:-default}",
            (
                "f:6: upstreams.a.api_keys[1]: OTHER is not set in the environment; "
                "set it, or write ${OTHER:-default}"
            ),
        ]

    def test_not_in_keys(self) -> None:
        assert said("upstreams: {'${A}': {kind: demo}}", {"A": "a"})[0] == (
            "f:1: upstreams: a variable stands in a value, not in a name; $${ is a literal ${"
        )

    def test_text_is_read_as_the_type_its_field_wants(self) -> None:
        settings = loaded(
            """\
            server: {port: "${PORT}", drain_grace_s: "${GRACE}"}
            admin: {metrics_auth: "${AUTH}"}
            upstreams:
              a:
                base_url: "${URL}"
                organization: ${ORG}
                models: "${MODELS}"
                shutdown_dates: {m: "${DAY}"}
            aliases:
              s: {model: m, upstreams: {a: "${WEIGHT}"}}
            """,
            {
                "PORT": "9000",
                "GRACE": "0.5",
                "AUTH": "true",
                "URL": "https://a/v1",
                "ORG": "12345",
                "MODELS": "discover",
                "DAY": "2027-01-14",
                "WEIGHT": "80",
            },
        )
        assert (settings.server.port, settings.server.drain_grace_s) == (9000, 0.5)
        assert settings.admin.metrics_auth is True
        assert settings.upstreams["a"].organization == "12345"
        assert settings.upstreams["a"].discovers
        assert str(settings.upstreams["a"].shutdown_dates["m"]) == "2027-01-14"
        assert settings.aliases["s"].upstream_order == (("a", 80),)

    def test_in_free_json_quotes_make_text(self) -> None:
        settings = loaded(
            """\
            rewrites:
              r:
                set:
                  plain: ${N}
                  quoted: "${N}"
                  deep: [{x: ["${N}"]}]
            """,
            {"N": "0.5"},
        )
        assert settings.rewrites["r"].set == {"plain": 0.5, "quoted": "0.5", "deep": [{"x": ["0.5"]}]}
