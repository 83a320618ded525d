"""Plays the fault matrix against real processes and prints what came of it.

    python3 dev.py chaos matrix [--only NAME ...] [--list] [--json] [--write]

Each case says what is wrong, what its client, the metrics and the ledger must see, and how long it may take.
Exits with 1 where one fails. `--write` writes docs/faults.md, with the times measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # a script finds only what is beside it

from tests.chaos.matrix_cases import CASES, FAMILIES  # noqa: E402  # after the path
from tests.chaos.matrix_kit.case import Case  # noqa: E402  # by the path above
from tests.chaos.matrix_kit.page import as_json, measured_in, page, row  # noqa: E402  # by the path above
from tests.chaos.matrix_kit.play import Result, play_all  # noqa: E402  # by the path above

PAGE = ROOT / "docs" / "faults.md"


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="cases whose name holds NAME")
    parser.add_argument("--list", action="store_true", help="print the names and play nothing")
    parser.add_argument("--json", action="store_true", help="print one line of JSON a case")
    parser.add_argument("--write", action="store_true", help="write docs/faults.md")
    given = parser.parse_args()
    chosen = [case for case in CASES if not given.only or any(part in case.name for part in given.only)]
    if not chosen:
        parser.error("no such case; --list names them")
    if given.list:
        for case in chosen:
            say(case.name)
        return 0
    results = asyncio.run(play(chosen, as_lines=given.json))
    failed = [result for result in results if not result.holds]
    if not given.json:
        say(f"{len(results) - len(failed)} of {len(results)} hold")
        for result in failed:
            say(f"failed: {result.case.name}")
    if given.write:
        took = measured_in(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
        took |= {result.case.name: result.took_s for result in results if result.holds}
        PAGE.write_text(page(FAMILIES, took), encoding="utf-8")
    return 1 if failed else 0


async def play(cases: list[Case], *, as_lines: bool) -> list[Result]:
    """All of them, each told of as soon as it is judged."""
    results = []
    async for result in play_all(cases, lambda case: say(f"... {case.name}", to=sys.stderr)):
        say(json.dumps(as_json(result)) if as_lines else row(result))
        results.append(result)
    return results


def say(line: str, to: object = None) -> None:
    """Print a line at once, also into a pipe."""
    print(line, file=to or sys.stdout, flush=True)  # type: ignore[arg-type]  # a script


if __name__ == "__main__":
    sys.exit(main())
