"""Looks for an answer of the response cache that reaches somebody else, in pairs of random requests.

    python3 dev.py chaos cache_isolation [--pairs N] [--seed N]

Two tenants who send the same body, spelled in two ways, must not meet; one tenant who sends it twice must.
A tenth as many pairs are of one tenant and differ in one thing that matters. Prints what came of it, then
how soon a scope that is everyone's is found out. Exits with 1 where anything crossed a border.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # a script finds only what is beside it

from gateway.cache.scope import Scope  # noqa: E402  # after the path
from tests.support.isolation import Found, questions, tenants  # noqa: E402  # by the path above


class Everyone(Scope):
    """A scope that forgot whose it is."""

    def __str__(self) -> str:
        return "everyone"


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20_000, help="pairs of tenants (default: 20000)")
    parser.add_argument("--seed", type=int, default=1, help="of the random requests (default: 1)")
    given = parser.parse_args()
    began = time.monotonic()
    between = tenants(given.pairs, given.seed)
    report("two tenants, one question", between)
    within = questions(max(1, given.pairs // 10), given.seed)
    report("one tenant, two questions", within)
    caught = next((n for n in range(1, 201) if tenants(n, given.seed, Everyone).hits), None)
    say(f"a scope that is everyone's: {'not found' if caught is None else f'found by pair {caught}'}")
    say(f"{time.monotonic() - began:.0f} s")
    return int(bool(between.hits or within.hits or between.missed or within.missed or caught is None))


def report(name: str, found: Found) -> None:
    """One line, and the first pairs that are wrong."""
    say(f"{name}: {found.pairs} pairs, {len(found.hits)} hits; the same again: {found.controls} hits")
    for word, pairs in (("crossed", found.hits), ("missed", found.missed)):
        for one, other in pairs:
            say(f"  {word}: {one!r} and {other!r}")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
