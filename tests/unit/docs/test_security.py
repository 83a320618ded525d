"""SECURITY.md: each threat has tests, and each test that is named exists."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.unit.docs.pages import BY_NAME, ROOT

PAGE = BY_NAME["SECURITY.md"]
THREATS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.text.splitlines()
    if line.startswith("| ") and not line.startswith("| threat ")
]
_TEST = re.compile(r"\[`(\w+)`\]\((tests/[\w/.]+\.py)\)")


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {function.name for function in functions if function.name.startswith("test_")}


def test_the_tables_are_read() -> None:
    assert len(THREATS) > 20
    assert len(PAGE.text.split("| threat |")) == 4


@pytest.mark.parametrize("row", THREATS, ids=lambda row: row[0][:40])
def test_every_threat_names_tests_that_exist(row: list[str]) -> None:
    threat, answer, held_by = row
    assert threat
    assert answer
    named = _TEST.findall(held_by)
    assert named, f"{threat}: no test"
    assert _TEST.sub("", held_by).strip(" ,") == ""
    for name, path in named:
        assert name in names_in(path), f"{path} has no test {name}"
