"""`tunegate check-config`."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli.check_config import check_config


def run(*arguments: str, env: dict[str, str | None] | None = None) -> Result:
    return CliRunner().invoke(check_config, arguments, env=env)


def written(folder: Path, text: str) -> str:
    path = folder / "g.yaml"
    path.write_text(text, "utf-8")
    return str(path)


GOOD = """\
upstreams:
  demo: {kind: demo}
  openai: {base_url: "https://api.openai.com/v1", api_keys: ["${TUNEGATE_TEST_KEY:-}"]}
aliases: {s: {model: m}}
"""


def test_a_good_file(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    result = run(path, env={"TUNEGATE_TEST_KEY": "sk-1"})
    assert (result.exit_code, result.output) == (0, f"{path}: good, 2 upstreams, 1 alias\n")


def test_warnings_do_not_refuse_it(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    result = run(path, env={"TUNEGATE_TEST_KEY": None})
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"warning: {path}:3: upstreams.openai: disabled: every entry of api_keys is empty",
        f"{path}: good, 2 upstreams, 1 alias",
    ]


def test_a_bad_file(tmp_path: Path) -> None:
    path = written(tmp_path, "server: {port: -1}\nreload: {wach: 1}\n")
    result = run(path)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{path}:1: server.port: must be at least 0 (this is -1)",
        f'{path}:2: reload.wach: unknown field "wach"; did you mean "watch"? known: watch',
        f"{path}: refused, 2 mistakes",
    ]


def test_no_file(tmp_path: Path) -> None:
    result = run(str(tmp_path / "gone.yaml"))
    assert result.exit_code == 1
    assert "gone.yaml: cannot be read: No such file or directory" in result.output


def test_json(tmp_path: Path) -> None:
    path = written(tmp_path, "server: {port: -1}")
    result = run(path, "--json")
    assert result.exit_code == 1
    assert json.loads(result.output) == {
        "object": "config.check",
        "file": path,
        "ok": False,
        "errors": [{"path": "server.port", "line": 1, "message": "must be at least 0 (this is -1)"}],
        "warnings": [],
    }
    good = json.loads(run(written(tmp_path, GOOD), "--json", env={"TUNEGATE_TEST_KEY": None}).output)
    assert (good["ok"], good["errors"], [each["path"] for each in good["warnings"]]) == (
        True,
        [],
        ["upstreams.openai"],
    )


def test_no_argument_is_a_usage_error() -> None:
    assert run().exit_code == 2
