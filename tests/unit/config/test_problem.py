from __future__ import annotations

from gateway.config.problem import ConfigError, Problem, did_you_mean, quote, render_path


def test_a_problem_reads_as_file_line_path_and_message() -> None:
    problem = Problem("aliases.support.upstreams[1]", 14, "unknown", "config/gateway.yaml")
    assert str(problem) == "config/gateway.yaml:14: aliases.support.upstreams[1]: unknown"
    assert str(Problem("", None, "the file is empty", "f")) == "f: the file is empty"
    assert str(Problem("model", None, "missing")) == "model: missing"
    assert str(ConfigError([problem, problem])) == f"{problem}\n{problem}"


def test_paths_quote_unusual_keys() -> None:
    assert render_path(("aliases", "support", "upstreams", 1)) == "aliases.support.upstreams[1]"
    assert render_path(("prices", "ft:a.b*", "input")) == 'prices["ft:a.b*"].input'
    assert render_path(()) == ""


def test_quotes_keep_to_one_line_of_a_terminal() -> None:
    assert quote("a\nb\x1b[2J") == r'"a\x0ab\x1b[2J"'
    assert len(quote("x" * 500)) == 82


def test_close_names_are_suggested() -> None:
    assert did_you_mean("azure-eu2", ["azure-eu", "vllm-a"]) == (
        '; did you mean "azure-eu"? known: azure-eu, vllm-a'
    )
    assert did_you_mean("SUPPORT", ["support"]) == '; did you mean "support"? known: support'
    assert did_you_mean("zzz", ["azure-eu"]) == "; known: azure-eu"
    assert did_you_mean("zzz", []) == "; none is known"
    assert did_you_mean("a\nb", ["a\nc", "z"]) == r'; did you mean "a\x0ac"? known: a\x0ac, z'
    many = [f"n{number}" for number in range(40)]
    assert did_you_mean("?", many).endswith("n10, n11 and 28 more")
