"""`tunegate check-config FILE`: every mistake of a configuration file at once."""

from __future__ import annotations

import json
import os
import sys

import click

from gateway.catalog.advice import advise
from gateway.config import ConfigError, Problem, load_file


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=str))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def check_config(file: str, as_json: bool) -> None:
    """Check the configuration FILE as `serve` would, and exit 1 if it is refused.

    Every mistake is printed with its path and line; warnings do not refuse a file. Variables come from the
    environment of this command.
    """
    try:
        settings = load_file(file, os.environ)
    except ConfigError as error:
        errors, warnings = error.problems, []
        summary = f"{file}: refused, {_count(len(errors), 'mistake')}"
    else:
        errors, warnings = [], advise(settings)
        upstreams, aliases = len(settings.upstreams), len(settings.aliases)
        summary = f"{file}: good, {_count(upstreams, 'upstream')}, {_count(aliases, 'alias', 'aliases')}"
    if as_json:
        report = {
            "object": "config.check",
            "file": file,
            "ok": not errors,
            "errors": [_row(problem) for problem in errors],
            "warnings": [_row(problem) for problem in warnings],
        }
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        for problem in errors:
            click.echo(str(problem))
        for problem in warnings:
            click.echo(f"warning: {problem}")
        click.echo(summary)
    sys.exit(1 if errors else 0)


def _row(problem: Problem) -> dict[str, str | int | None]:
    return {"path": problem.path, "line": problem.line, "message": problem.message}


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
