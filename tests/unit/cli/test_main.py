import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from gateway import __version__
from gateway.cli.main import COMMANDS, tunegate


def test_every_command_is_there_and_says_what_it_does() -> None:
    help_text = CliRunner().invoke(tunegate, ["--help"]).output
    for name, (_, line) in COMMANDS.items():
        assert f"  {name}" in help_text
        assert line in help_text
        command = tunegate.get_command(click.Context(tunegate), name)
        assert command is not None
        assert command.help
        assert command.name == name


def test_every_leaf_but_serve_prints_json_too() -> None:
    def leaves(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
        if not isinstance(command, click.Group):
            return [(path, command)]
        context = click.Context(command)
        inner = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
        return [leaf for name, each in inner if each for leaf in leaves(each, f"{path} {name}".strip())]

    without = [
        path for path, leaf in leaves(tunegate, "") if not any("--json" in p.opts for p in leaf.params)
    ]
    assert without == ["serve"]


def test_a_command_that_does_not_exist_is_wrong_usage() -> None:
    result = CliRunner().invoke(tunegate, ["compare"])
    assert result.exit_code == 2
    assert "No such command" in result.output


@pytest.mark.parametrize("arguments", [["keys", "list"], ["aliases", "show", "x"], ["explain", "m"]])
def test_without_a_key_nothing_is_asked(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEGATE_ADMIN_KEY", raising=False)
    result = CliRunner().invoke(tunegate, arguments)
    assert result.exit_code == 1
    assert "TUNEGATE_ADMIN_KEY" in result.output


def test_the_version() -> None:
    assert CliRunner().invoke(tunegate, ["version"]).output == f"tunegate {__version__}\n"
    as_json = CliRunner().invoke(tunegate, ["version", "--json"]).output
    assert json.loads(as_json) == {"version": __version__}


def test_the_version_loads_nothing_it_does_not_need() -> None:
    program = (
        "import sys; from gateway.cli.main import tunegate; tunegate(['version'], standalone_mode=False);"
        "print([m for m in ('fastapi', 'pydantic', 'httpx2', 'rich', 'yaml') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout  # noqa: S603  # our own text
    assert out.splitlines()[-1] == "[]"
