"""Kills every process of a gateway at random under mixed load, and compares its ledger with what happened.

    python3 dev.py chaos ledger [--requests 10000] [--seed 1] [--workers 2] [--every 1.0]
        [--rate 0] [--without-store closed|local|open] [--keep FOLDER]

Prints what was seen and, last, one line of JSON. Exits with 1 where anything was lost, doubled or wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds only what is beside it

from tests.chaos.kit.checker import PROMISES
from tests.chaos.kit.run import Result, Settings, run, save

SHOWN = 20


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between blows, on average")
    parser.add_argument("--rate", type=float, default=0, help="calls a second; 0 = as many as it can")
    parser.add_argument(
        "--without-store",
        choices=("closed", "local", "open"),
        default="closed",
        help="on_store_failure.limits",
    )
    parser.add_argument("--keep", type=Path, help="write the three logs into this folder")
    given = parser.parse_args()
    settings = Settings(
        given.requests, given.seed, given.workers, given.every, given.rate, given.without_store
    )
    result = run(settings)
    show(result)
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
        save(result.logs, given.keep)
    say(json.dumps(result.figures(settings)))
    return 0 if result.is_good else 1


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def show(result: Result) -> None:
    """Print what was seen, for a reader."""
    for name, figure in result.verdict.figures.items():
        say(f"{name:20} {figure:>9,}")
    blows = ", ".join(f"{name} {count}" for name, count in sorted(result.hits.items()))
    say(f"killed               {blows or 'nothing'}")
    say(f"load                 {result.load_s:9.1f} s")
    say(f"settled after        {result.settled_after_s:9.1f} s")
    for kind, count in result.verdict.by_kind.items():
        say(f"VIOLATED {count:,} times: {PROMISES[kind]}")
    for violation in result.verdict.violations[:SHOWN]:
        say(f"  {violation.kind}: {violation.detail}")
    if result.journals_left:
        say(f"VIOLATED: journals were not replayed: {', '.join(result.journals_left)}")


if __name__ == "__main__":
    sys.exit(main())
