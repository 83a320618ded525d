"""What commands print: tables on a terminal, tab-separated lines when piped, JSON when asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

Column = tuple[str, str]
"""A heading, and the field of a row that stands below it."""


def print_json(value: Any) -> None:
    """Print one JSON value, indented on a terminal."""
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def print_rows(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table, or as tab-separated lines with their headings first."""
    cells = [[show(row.get(field), field) for _, field in columns] for row in rows]
    headings = [heading for heading, _ in columns]
    if not sys.stdout.isatty():
        for line in [headings, *cells]:
            click.echo("\t".join(line))
        return
    from rich import box  # noqa: PLC0415  # only a terminal needs it, and it takes long to load
    from rich.console import Console  # noqa: PLC0415  # as above
    from rich.table import Table  # noqa: PLC0415  # as above
    from rich.text import Text  # noqa: PLC0415  # as above

    table = Table(*headings, box=box.SIMPLE_HEAD)
    for line in cells:
        table.add_row(*(Text(cell, overflow="fold") for cell in line))  # Text: brackets are no markup here
    Console().print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print one object, a `name: value` line each."""
    for name, value in fields.items():
        click.echo(f"{name}: {show(value, name)}")


def show(value: Any, field: str = "") -> str:
    """A value for people, on one line and without control characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and field.endswith("_at"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, list) and all(isinstance(each, str | int) for each in value):
        return printable(", ".join(map(str, value))) or "none"
    if isinstance(value, dict | list):
        return printable(json.dumps(value, ensure_ascii=False))
    return printable(str(value))


def printable(text: str) -> str:
    """The text without what could move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
