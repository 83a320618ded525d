"""Kills a primary of a cluster, and moves a slot, under the load of three gateways; then reads the books.

    python3 dev.py chaos shards [--requests 6000] [--seed 1] [--gateways 3] [--workers 1] [--rate 300]
        [--wait-replicas 1] [--cut-off 0.3]

With `--wait-replicas 1` no charge may be wrong, and calls may fail during the failover only, by keys of the
killed primary; the exit code is 1 otherwise. With 0 what was lost is printed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds only what is beside it

from tests.chaos.kit.checker import PROMISES
from tests.chaos.kit.shards import Result, Settings, run

SHOWN = 10


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=300, help="calls a second, all gateways together")
    parser.add_argument("--wait-replicas", type=int, default=1, choices=(0, 1))
    parser.add_argument(
        "--cut-off", type=float, default=0.3, help="seconds without its replica before the kill"
    )
    given = parser.parse_args()
    settings = Settings(
        given.requests,
        given.seed,
        given.gateways,
        given.workers,
        given.rate,
        given.wait_replicas,
        given.cut_off,
    )
    result = run(settings)
    show(result)
    say(json.dumps(result.figures(settings)))
    return 0 if result.is_good or not settings.wait_replicas else 1


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def show(result: Result) -> None:
    """Print what was seen, for a reader."""
    blows = result.blows
    for name, figure in result.verdict.figures.items():
        say(f"{name:20} {figure:>9,}")
    say(f"slot {blows.moved_slot} moved in {blows.move_s[1] - blows.move_s[0]:.2f} s")
    say(f"killed {blows.killed}; its replica served after {blows.promoted_at - blows.killed_at:.2f} s")
    say(
        f"failed: {result.failed_within} calls within the window, {result.failed_outside} outside it, "
        f"{result.other_shards_failed} of other shards; the last {result.last_failure_s:.2f} s after the kill"
    )
    say(f"LOST: {result.lost} acknowledged calls have no record of what they cost")
    for kind, count in result.verdict.by_kind.items():
        say(f"VIOLATED {count:,} times: {PROMISES[kind]}")
    for violation in result.verdict.violations[:SHOWN]:
        say(f"  {violation.kind}: {violation.detail}")
    if result.journals_left:
        say(f"VIOLATED: journals were not replayed: {', '.join(result.journals_left)}")


if __name__ == "__main__":
    sys.exit(main())
