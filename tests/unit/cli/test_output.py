from typing import Any

import pytest

from gateway.cli.output import print_fields, print_rows, show


@pytest.mark.parametrize(
    ("value", "field", "text"),
    [
        (None, "", "-"),
        (True, "", "yes"),
        (0, "created_at", "1970-01-01 00:00:00Z"),
        (0, "revision", "0"),
        (["a", "b"], "", "a, b"),
        ([], "aliases", "none"),
        ({"a": ["é"]}, "", '{"a": ["é"]}'),
        ("two\nlines\x1b", "", "two?lines?"),
    ],
)
def test_values_are_shown_on_one_line(value: Any, field: str, text: str) -> None:
    assert show(value, field) == text


def test_rows_are_tab_separated_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([("ID", "id"), ("NAME", "name")], [{"id": 1, "name": "a [red]b"}, {"id": 2}])
    assert capsys.readouterr().out == "ID\tNAME\n1\ta [red]b\n2\t-\n"


def test_rows_are_a_table_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_rows([("ID", "id"), ("NAME", "name")], [{"id": 1, "name": "a [red]b"}])
    out = capsys.readouterr().out
    assert "a [red]b" in out  # no markup
    assert "\t" not in out
    assert "─" in out


def test_fields_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"name": "x", "team": None})
    assert capsys.readouterr().out == "name: x\nteam: -\n"
