"""`tunegate doctor [FILE]`: looks at everything a gateway needs, and says what to do about what is wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path

import click

from gateway.catalog.advice import advise
from gateway.cli.doctor_cache import cache
from gateway.cli.doctor_finding import Finding, bad, ok, warn
from gateway.cli.doctor_machine import machine
from gateway.cli.doctor_store import store
from gateway.cli.doctor_upstreams import upstreams
from gateway.cli.output import print_json, printable
from gateway.config import ConfigError, Settings, load_file

_USUAL = ("gateway.yaml", "config/gateway.yaml")
_COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def doctor(file: Path | None, as_json: bool) -> None:
    """Check the configuration FILE and everything that a gateway with it needs.

    Configuration, open files, data folder, the store (version, persistence, eviction, permissions, latency,
    clock) and each upstream (name, certificate, keys, models, clock). Each finding is one line: `ok`, `warn`
    or `bad`, and what to do. Exits 1 where anything is bad. FILE is gateway.yaml or config/gateway.yaml by
    default. Nothing is called that costs money, and a running gateway is not disturbed.
    """
    path = file or next((Path(name) for name in _USUAL if Path(name).exists()), None)
    if path is None:
        raise click.UsageError(f"there is no {' or '.join(_USUAL)} here; name the configuration file")
    findings = asyncio.run(_look(path, quiet=as_json))
    is_bad = any(finding.state == "bad" for finding in findings)
    if as_json:
        print_json(
            {
                "object": "doctor.report",
                "file": str(path),
                "ok": not is_bad,
                "findings": [asdict(finding) for finding in findings],
            }
        )
    sys.exit(1 if is_bad else 0)


async def _look(path: Path, *, quiet: bool) -> list[Finding]:
    findings = []
    async for finding in _findings(path):
        findings.append(finding)
        if not quiet:
            _print(finding)
    return findings


async def _findings(path: Path) -> AsyncIterator[Finding]:
    settings, found = _configuration(path)
    for finding in found:
        yield finding
    if settings is None:
        return
    for finding in machine(settings):
        yield finding
    async for finding in store(settings):
        yield finding
    async for finding in cache(settings):
        yield finding
    async for finding in upstreams(settings):
        yield finding


def _configuration(path: Path) -> tuple[Settings | None, list[Finding]]:
    try:
        settings = load_file(path, os.environ)
    except ConfigError as error:
        do = "mend the line; tunegate check-config lists the same"
        return None, [bad("configuration", str(problem), do) for problem in error.problems]
    except OSError as error:
        return None, [bad("configuration", f"{path}: {error.strerror}", "name a file that can be read")]
    return settings, [ok("configuration", str(path)), *_advice(settings)]


def _advice(settings: Settings) -> Iterator[Finding]:
    for problem in advise(settings):
        yield warn("configuration", str(problem), "see docs/configuration.md")


def _print(finding: Finding) -> None:
    mark = click.style(f"{finding.state:4}", fg=_COLOURS[finding.state], bold=True)
    do = f" -> {finding.do}" if finding.do else ""
    click.echo(f"{mark}  {finding.check}: {printable(finding.said + do)}")
