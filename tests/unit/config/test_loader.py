"""Files on a disk, and blocks that come from elsewhere than the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import ConfigError, load_alias, load_file
from tests.unit.config.loading import loaded


def refused(path: Path | str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_file(path, {})
    return [str(problem) for problem in caught.value.problems]


class TestFiles:
    def test_paths_start_from_the_files_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "g.yaml").write_text("store: {data_dir: ../data}", "utf-8")
        monkeypatch.chdir(tmp_path)
        assert load_file("config/g.yaml", {}).store.data_dir == tmp_path / "data"
        assert load_file(tmp_path / "config" / "g.yaml", {}).store.data_dir == tmp_path / "data"

    def test_messages_name_the_file_as_it_was_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "g.yaml").write_text("x: 1", "utf-8")
        monkeypatch.chdir(tmp_path)
        assert refused("g.yaml")[0].startswith('g.yaml:1: x: unknown field "x"')

    def test_what_cannot_be_read(self, tmp_path: Path) -> None:
        gone = tmp_path / "gone.yaml"
        assert refused(gone) == [f"{gone}: cannot be read: No such file or directory"]
        assert refused(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]
        assert refused("a\0b") == ["a\0b: cannot be read: embedded null byte"]

    def test_what_is_no_utf_8(self, tmp_path: Path) -> None:
        path = tmp_path / "g.yaml"
        path.write_bytes(b"a: 1\nb: \xff\n")
        assert refused(path) == [f"{path}:2: not UTF-8 text; save the file as UTF-8"]
        path.write_text("server: {}", "utf-16")
        assert refused(path) == [f"{path}:1: not UTF-8 text; it looks like UTF-16: save it as UTF-8"]

    def test_a_byte_order_mark_and_windows_line_ends_are_fine(self, tmp_path: Path) -> None:
        path = tmp_path / "g.yaml"
        path.write_bytes(b"\xef\xbb\xbfserver:\r\n  port: 9000\r\n")
        assert load_file(path, {}).server.port == 9000


class TestBlocks:
    SETTINGS = loaded(
        """\
        upstreams:
          a: {kind: demo, owns: [acme]}
          b: {kind: demo}
        aliases:
          old: {model: m}
          other: {model: m, fallbacks: [new]}
        rewrites: {r: {}}
        """
    )

    def said(self, name: str, block: dict[str, object]) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_alias(name, block, self.SETTINGS)
        assert {problem.line for problem in caught.value.problems} == {None}
        return [str(problem) for problem in caught.value.problems]

    def test_a_good_one(self) -> None:
        alias = load_alias(
            "new",
            {"model": "ft:gpt-4o:acme::x", "upstreams": {"a": 1}, "fallbacks": ["old"], "rewrite": "r"},
            self.SETTINGS,
        )
        assert alias.upstream_order == (("a", 1),)

    def test_it_may_take_the_place_of_an_old_one(self) -> None:
        assert load_alias("old", {"model": "x"}, self.SETTINGS).model == "x"

    def test_it_is_held_to_the_rules_of_the_file(self) -> None:
        block = {
            "model": "ft:gpt-4o:acme::x",
            "upstreams": ["b", "aa"],
            "port": 1,
            "rewrite": "q",
        }
        assert self.said("new", block) == [
            (
                'port: unknown field "port"; known: model, upstreams, fallbacks, fallback_on, sunset, '
                "defaults, rewrite, timeouts, cache, hedge, max_output_tokens"
            ),
            (
                'upstreams[0]: upstream "b" does not own this model: its owns lists nothing, '
                'and "ft:gpt-4o:acme::x" has the org segment "acme"'
            ),
            'upstreams[1]: unknown upstream "aa"; did you mean "a"? known: a, b',
            'rewrite: unknown rewrite "q"; known: r',
        ]
        assert self.said("new", {}) == ["model: missing, and there is no default"]

    def test_it_closes_no_circle(self) -> None:
        assert self.said("new", {"model": "m", "fallbacks": ["x", "other"]}) == [
            "fallbacks[1]: these fallbacks go in a circle: new -> other -> new"
        ]

    def test_its_name_is_checked(self) -> None:
        assert self.said("a b", {"model": "m"}) == [
            "an alias name has no spaces, commas or control characters"
        ]

    def test_it_does_not_read_the_environment(self) -> None:
        alias = load_alias("new", {"model": "${HOME}", "defaults": {"user": "${HOME}"}}, self.SETTINGS)
        assert (alias.model, alias.defaults) == ("${HOME}", {"user": "${HOME}"})
