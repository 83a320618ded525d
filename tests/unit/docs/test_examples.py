"""Examples are right: configurations load, code compiles, commands exist with the options they are given."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys

import click
import pytest

import dev
from gateway.cli.main import tunegate
from gateway.config import ConfigError, check, load
from gateway.demo.tour.__main__ import parse as parse_run
from tests.unit.docs.pages import BY_NAME, FENCES, PAGES, ROOT, Fence, fences_of

_VARIABLE = re.compile(r"\$\{(\w+)\}")
# Its one example is refused with the messages below it, which the page's own test compares.
_REFUSED = "docs/configuration.md"
CONFIGURATIONS = [fence for fence in fences_of("yaml") if fence.page != _REFUSED]


def _words_of(line: str) -> list[str]:
    """The words of a line of shell that runs one of our commands, from its name on; none for other lines."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return []
    for name, length in ((["python3", "dev.py", "tunegate"], 3), ([".venv/bin/tunegate"], 1)):
        if words[:length] == name:
            return ["tunegate", *words[length:]]
    return words if words[:1] == ["tunegate"] or words[:2] == ["python3", "dev.py"] else []


def _lines(fence: Fence) -> list[str]:
    return fence.text.replace("\\\n", " ").splitlines()


IN_FENCES = [
    (fence.place, words)
    for fence in FENCES
    if fence.language in ("sh", "")
    for line in _lines(fence)
    if (words := _words_of(line))
]
IN_LINES = [(page.name, words) for page in PAGES for code in page.code if (words := _words_of(code))]


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words after `tunegate` name, and what is left of them."""
    command: click.Command = tunegate
    context = click.Context(command)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(context, words[0])
        assert below is not None, f"no command {words[0]!r}"
        command, words = below, words[1:]
    return command, words


@pytest.mark.parametrize("fence", CONFIGURATIONS, ids=lambda fence: fence.place)
def test_configurations_load(fence: Fence) -> None:
    environment = dict.fromkeys(_VARIABLE.findall(fence.text), "placeholder")
    environment["TUNEGATE_PROVIDERS_PYTHON"] = sys.executable  # as if it were made
    try:
        settings = load(fence.text, base=ROOT / "config", env=environment, name=fence.place)
    except ConfigError as error:
        pytest.fail(str(error))
    assert not check(settings), "an example should not need a warning"


def test_there_are_configurations_to_load() -> None:
    assert {fence.page for fence in CONFIGURATIONS} >= {"README.md", "docs/fine-tuned-models.md"}


@pytest.mark.parametrize("fence", fences_of("python"), ids=lambda fence: fence.place)
def test_python_is_python(fence: Fence) -> None:
    ast.parse(fence.text)


@pytest.mark.parametrize("fence", fences_of("json"), ids=lambda fence: fence.place)
def test_json_is_json(fence: Fence) -> None:
    json.loads(fence.text)


@pytest.mark.parametrize("fence", fences_of("sh"), ids=lambda fence: fence.place)
def test_bodies_that_curl_sends_are_calls(fence: Fence) -> None:
    for line in _lines(fence):
        words = shlex.split(line, comments=True)
        if "-d" in words:
            body = json.loads(words[words.index("-d") + 1])
            assert {"model", "messages"} <= body.keys()


@pytest.mark.parametrize(("place", "words"), IN_FENCES, ids=str)
def test_commands_in_blocks_can_be_run(place: str, words: list[str]) -> None:
    if words[0] == "tunegate":
        command, rest = _command(words[1:])
        command.make_context(command.name, rest)
    elif words[2] == "run":
        parse_run(words[3:])
    else:
        assert words[2] in dev.COMMANDS, place


@pytest.mark.parametrize(("place", "words"), IN_LINES, ids=str)
def test_commands_in_lines_exist(place: str, words: list[str]) -> None:
    if words[0] == "tunegate":
        command, rest = _command(words[1:])
        known = {option for each in command.params for option in each.opts} | {"--help"}
        assert {word for word in rest if word.startswith("--")} <= known, place
    elif words[2:]:
        assert words[2] in dev.COMMANDS, place


def test_every_command_is_documented() -> None:
    documented = {tuple(words) for _, words in IN_LINES}

    def walk(group: click.Group, path: tuple[str, ...]) -> None:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                walk(command, (*path, name))
            else:
                assert (*path, name) in documented, f"{' '.join((*path, name))} stands in no page"

    walk(tunegate, ("tunegate",))
    commands = {name for name in dev.COMMANDS if not name.startswith("-")}
    assert commands == {
        words[2]
        for page in [BY_NAME["README.md"]]
        for row in page.table("command")
        if (words := row["command"].strip("`").split())
    }
