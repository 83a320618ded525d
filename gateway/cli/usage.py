"""`tunegate usage`: what was used, by whom, of what, and what it cost."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click
from click.core import ParameterSource

from gateway.cli.admin_client import DEFAULT_URL, AdminClient, administers
from gateway.cli.output import print_json, print_rows
from gateway.cli.progress import progress
from gateway.cli.sparkline import sparkline

_GROUPS = ("key", "alias", "model", "upstream", "release", "team", "day", "hour")
_FILTERS = _GROUPS[:-2]
_COLUMNS = [
    ("REQUESTS", "requests"),
    ("ERRORS", "errors"),
    ("CACHE HITS", "cache_hits"),
    ("PROMPT TOKENS", "prompt_tokens"),
    ("CACHED", "cached_tokens"),
    ("COMPLETION TOKENS", "completion_tokens"),
    ("COST USD", "cost_usd"),
    ("UNPRICED", "unpriced_requests"),
]
_SPAN_S = {"hour": 3600, "day": 24 * 3600}
_BY_HOUR_S = 3 * _SPAN_S["day"]  # up to this the sparkline has a bar an hour, then one a day
_AGO_S = {"d": 24 * 3600, "h": 3600, "m": 60}


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    ago = re.fullmatch(r"([0-9]{1,6})([dhm])", text or "")
    return str(int(time.time()) - int(ago[1]) * _AGO_S[ago[2]]) if ago else text


def _names(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if name not in _GROUPS:
            raise click.BadParameter(f"{name} is none of {', '.join(_GROUPS)}")
    return list(dict.fromkeys(names))


def _selects(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose a period and what counts in it."""
    since = "Such as 2026-01-31, 2026-01-31T12:00Z, unix seconds, or 7d for seven days ago."
    options = [
        click.option("--from", "start", callback=_moment, metavar="TIME", help=f"Its begin, UTC. {since}"),
        click.option("--to", "end", callback=_moment, metavar="TIME", help="Its end, itself not included."),
        *(
            click.option(f"--{name}", multiple=True, metavar=name.upper(), help=f"Only usage of this {name}.")
            for name in _FILTERS
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@click.option(
    "--by",
    multiple=True,
    callback=_names,
    metavar="WHAT",
    help=f"A row for each: {', '.join(_GROUPS)}; several repeated or joined by commas.",
)
@_selects
@click.option("--url", envvar="TUNEGATE_ADMIN_URL", default=DEFAULT_URL, help="The control plane.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def usage(context: click.Context, /, **options: Any) -> None:
    """Show usage of a period, by default the last 30 days with today.

    Whole hours are shown, whatever TIME says. The bars are requests over time.
    """
    if context.invoked_subcommand is None:
        context.invoke(_show, **options)
    elif any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in options):
        raise click.UsageError(f"options of {context.invoked_subcommand} stand behind it.")


@click.command()
@administers
def _show(client: AdminClient, by: list[str], as_json: bool, **options: Any) -> None:
    query = _query(options)
    found = client.listed("usage", query={**query, "group_by": by})
    if as_json:
        print_json(found)
        return
    rows: list[dict[str, Any]] = found["data"]
    columns = [(name.upper(), name) for name in by] + _COLUMNS
    if not {"day", "hour"} & set(by):
        _add_trends(client, query, by, found)
        columns.append(("TREND", "trend"))
    print_rows(columns, rows)


def _add_trends(
    client: AdminClient, query: Mapping[str, Any], by: list[str], found: Mapping[str, Any]
) -> None:
    """Give each row of `found` its requests over time, as a sparkline."""
    start, end = found["from"], min(found["to"], int(time.time()) + 1)
    span = "hour" if end - start <= _BY_HOUR_S else "day"
    base = start // _SPAN_S[span] * _SPAN_S[span]  # the first bar may stand for part of a day
    points = max(1, -(-(end - base) // _SPAN_S[span]))
    asked = {**query, "from": start, "to": max(end, start + 1), "group_by": [*by, span]}
    trends: dict[tuple[Any, ...], list[int]] = {}
    for row in client.listed("usage", query=asked)["data"]:
        trend = trends.setdefault(tuple(row[name] for name in by), [0] * points)
        place = (row["starts_at"] - base) // _SPAN_S[span]
        trend[min(max(0, place), points - 1)] += row["requests"]
    for row in found["data"]:
        trend = trends.get(tuple(row[name] for name in by), [0] * points)
        row["trend"] = sparkline(trend, encoding=sys.stdout.encoding)


@usage.command()
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), default="jsonl", show_default=True
)
@click.option(
    "--output",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="The file to write; - is standard output.",
)
@_selects
@administers
def export(client: AdminClient, form: str, output: Path, as_json: bool, **options: Any) -> None:
    """Write the records of a period to a file. It appears once it is complete."""
    if as_json and str(output) == "-":
        raise click.UsageError("--json tells about the file that was written: give one with --output.")
    query = _query(options)
    total = client.call("GET", "usage", query=query)["data"][0]["requests"] if form != "parquet" else None
    written = 0
    with _fresh(output) as file, progress("records" if total else "bytes", total) as advance:
        for piece in client.stream("GET", "usage", "export", query={**query, "format": form}):
            file.write(piece)
            written += len(piece)
            advance(piece.count(b"\n") if total else len(piece))
    if as_json:
        print_json({"object": "usage.export", "format": form, "output": str(output), "bytes": written})
    elif str(output) != "-":
        click.echo(f"wrote {output}, {written} bytes", err=True)


@contextmanager
def _fresh(path: Path) -> Iterator[BinaryIO]:
    """A file to write, in place of the one of this name once all is in it."""
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    part = path.with_name(f"{path.name}.part")
    try:
        try:
            with part.open("wb") as file:
                yield file
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror or error}") from error


def _query(options: Mapping[str, Any]) -> dict[str, Any]:
    filters: Iterable[tuple[str, list[str]]] = ((name, list(options[name])) for name in _FILTERS)
    return {
        "from": options["start"],
        "to": options["end"],
        **{name: values for name, values in filters if values},
    }
