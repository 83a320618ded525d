"""The loads that a contender is given, and the generator that makes them."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

from contenders import BUILD, Target
from processes import LOAD_CORE, start, stop

LIMIT_S = 300
"""Of one load, which ends by itself long before."""


@dataclass(frozen=True)
class Test:
    """A load: `model` names the mock's script, `by_alias` an alias of it that Tunegate is asked for."""

    arguments: str
    model: str
    by_alias: str | None = None
    streams: int | None = None
    """How many streams stand open at once; memory is measured where this is given."""

    @property
    def is_json(self) -> bool:
        return "-N" in self.arguments.split()


TESTS = {  # in the order they run: memory first, while the process is as small as it was at rest
    "idle-2000": Test("-c 2000 -r 1 -w 2000 -T 60", "mock-n12-d1000ms", streams=2000),
    "json-c1": Test("-c 1 -r 2000 -T 6 -N", "mock"),
    "json-c16": Test("-c 16 -r 1500 -T 6 -N", "mock"),
    "json-c64": Test("-c 64 -r 500 -T 6 -N", "mock"),
    "alias-c64": Test("-c 64 -r 500 -T 6 -N", "mock", by_alias="support"),
    "cached-c64": Test("-c 64 -r 500 -T 6 -N", "mock", by_alias="kept"),
    "stream-1": Test("-c 1 -r 30 -T 20", "mock-n10-d5ms"),
    "stream-50": Test("-c 50 -r 3 -w 400 -T 30", "mock-n100-d20ms"),
    "stream-200": Test("-c 200 -r 1 -w 400 -T 60", "mock-n100-d20ms"),
    "stream-500": Test("-c 500 -r 1 -w 800 -T 60", "mock-n100-d20ms"),
    "start-500": Test("-c 500 -r 1 -w 400 -T 60", "mock-n100-d20ms"),
    "alias-500": Test("-c 500 -r 1 -w 800 -T 60", "mock-n100-d20ms", by_alias="support-n100"),
    "burst-200": Test("-c 200 -r 2 -T 60", "mock-n200"),
}
ON_REQUEST = {"stream-50", "burst-200"}
BESIDE_PEERS = ["json-c16", "json-c64", "stream-50", "stream-200"]
"""Those that the slowest of them lives through."""

WARM_UP = [Test("-c 4 -r 20 -T 20 -N", "mock"), Test("-c 4 -r 3 -T 20", "mock-n20")]
WARM_UP_KEPT = [Test("-c 4 -r 20 -T 20 -N", "mock", by_alias="kept")]
MODELS = sorted({test.model for test in [*TESTS.values(), *WARM_UP]})

KEPT = {"kept": {"model": "mock", "cache": {"enabled": True, "nondeterministic": True}}}
"""The alias whose answers are kept, as Tunegate's configuration says it."""
ALIASES = {
    test.by_alias: test.model for test in TESTS.values() if test.by_alias and test.by_alias not in KEPT
}

OWN_TESTS = {  # of contenders that answer one question each
    "tunegate-2w": ["json-c64"],
    "tunegate-always": ["json-c1", "json-c64", "stream-1"],
    "tunegate-cache": ["cached-c64"],
}


def tests_of(who: str, asked: list[str]) -> list[str]:
    """Return those of the tests asked for that are meant for a contender."""
    if who in OWN_TESTS:
        return [name for name in asked if name in OWN_TESTS[who]]
    return [name for name in asked if TESTS[name].by_alias not in KEPT]


def load(test: Test, target: Target) -> dict[str, Any]:
    """Run the load generator to its end and return its figures."""
    model = test.by_alias if test.by_alias and target.knows_aliases else test.model
    command = [str(BUILD / "load"), "-p", str(target.port), "-A", target.key, "-m", model]
    command += ["-H", target.header, *test.arguments.split()]
    with tempfile.TemporaryFile() as out:
        process = start(command, LOAD_CORE, sys.stderr.buffer, out=out)
        try:
            status = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            status = f"it did not end in {LIMIT_S} s"
        finally:
            if process.poll() is None:
                stop(process)
        if status:
            sys.exit(f"the load generator failed ({status}): {' '.join(command)}")
        out.seek(0)
        return json.load(out)
