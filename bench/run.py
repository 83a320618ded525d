"""Measure Tunegate beside nginx and the bare upstream, interleaved in one run, on two cores.

The proxy has core 0, the mock upstream and the load generator share core 1. Quote CPU microseconds and the
ratio to nginx of the same run, never a rate alone: see docs/performance.md.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import contenders
from contenders import BUILD, Target
from processes import LOAD_CORE, cpu_seconds, memory_kib, processes_of, start
from report import Results, Row, Start, budget_table, memory_table, rows_table


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
    "stream-1": Test("-c 1 -r 30 -T 20", "mock-n10-d5ms"),
    "stream-200": Test("-c 200 -r 1 -w 400 -T 60", "mock-n100-d20ms"),
    "stream-500": Test("-c 500 -r 1 -w 800 -T 60", "mock-n100-d20ms"),
    "alias-500": Test("-c 500 -r 1 -w 800 -T 60", "mock-n100-d20ms", by_alias="support-n100"),
    "burst-200": Test("-c 200 -r 2 -T 60", "mock-n200"),
}
ALIASES = {test.by_alias: test.model for test in TESTS.values() if test.by_alias}
LEGEND = """\
p50, p99: of JSON the whole answer, of streams the time to the first chunk; way: of a chunk, from the upstream
to the client. CPU of all threads of the proxy's processes, the store's beside it. Medians of the rounds."""
WARM_UP = [Test("-c 4 -r 20 -T 20 -N", "mock"), Test("-c 4 -r 3 -T 20", "mock-n20")]


def load(test: Test, target: Target) -> dict[str, Any]:
    """Run the load generator to its end."""
    model = test.by_alias if test.by_alias and target.knows_aliases else test.model
    command = [
        str(BUILD / "load"),
        "-p",
        str(target.port),
        "-A",
        target.key,
        "-m",
        model,
        *test.arguments.split(),
    ]
    with tempfile.TemporaryFile() as out:
        process = start(command, LOAD_CORE, sys.stderr.buffer, out=out)
        if process.wait():
            sys.exit(f"the load generator failed: {' '.join(command)}")
        out.seek(0)
        return json.load(out)


class MemoryPeak:
    """The largest sum of resident memory of a session's processes, store excluded, while the block runs."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.kib = self.now()

    def now(self) -> int:
        return sum(sum(sizes) for kind, sizes in memory_kib(self._session).items() if kind != "store")

    def _sample(self) -> None:
        while not self._ended.wait(0.5):
            self.kib = max(self.kib, self.now())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def measure(name: str, target: Target, round_: int) -> Row:
    """Run one test against a contender and read what it cost."""
    test = TESTS[name]
    members = processes_of(target.session)
    proxy_before, store_before = cpu_seconds(target.session)
    stream_kib = None
    began = time.monotonic()
    if test.streams:
        with MemoryPeak(target.session) as memory:
            rest = memory.kib
            result = load(test, target)
        stream_kib = (memory.kib - rest) / test.streams
    else:
        result = load(test, target)
    took = time.monotonic() - began
    proxy, store = cpu_seconds(target.session)
    proxy, store = proxy - proxy_before, store - store_before
    if (
        processes_of(target.session) != members
    ):  # CPU time of a process that ended is lost, so the row is not true
        result["errors"] += 1
        result["reasons"].append("a process of the contender ended or was started")
    count = max(result["ok"] if test.is_json else result["chunks"], 1)
    latency = "total" if test.is_json else "ttft"
    row = Row(
        who=target.name,
        test=name,
        round=round_,
        unit="request" if test.is_json else "chunk",
        errors=result["errors"],
        reason="; ".join(result["reasons"][:1]),
        per_s=count / result["seconds"],
        cpu_us=1e6 * proxy / count,
        store_us=1e6 * store / count,
        cpu_percent=100 * proxy / took,
        p50_ms=result[f"{latency}_p50_ms"],
        p99_ms=result[f"{latency}_p99_ms"],
        transit_p50_ms=result["transit_p50_ms"],
        transit_p99_ms=result["transit_p99_ms"],
        stream_kib=stream_kib,
    )
    note = f"  errors {row.errors}: {row.reason}" if row.errors else ""
    figures = f"{row.per_s:9.0f}/s {row.cpu_us:8.1f} us a {row.unit}"
    say(f"  round {round_} {row.who:11s} {name:11s} {figures}{note}")
    return row


def fsync_ms(folder: Path) -> float:
    """Return the median time of a small append and its fsync: the floor of `durability: always`."""
    times = []
    with (folder / "fsync.tmp").open("wb", buffering=0) as file:
        for _ in range(200):
            began = time.perf_counter()
            file.write(b"x" * 512)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    (folder / "fsync.tmp").unlink()
    return 1e3 * sorted(times)[100]


def machine() -> dict[str, Any]:
    """Return what a reader needs to place the figures."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "commit": commit,
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "fsync_ms": round(fsync_ms(Path(tempfile.gettempdir())), 3),
    }


def run(arguments: argparse.Namespace) -> Results:
    """Run every round: each contender is started anew, warmed up and given every test."""
    rows: list[Row] = []
    starts: list[Start] = []
    with ExitStack() as stack:
        log = stack.enter_context((BUILD / "log.txt").open("ab"))
        upstream = stack.enter_context(contenders.upstream(log, tls=arguments.tls))
        gateway = partial(contenders.tunegate, upstream, ALIASES, durability=arguments.durability)
        field: dict[str, Callable[[], AbstractContextManager[Target]]] = {
            "direct": partial(contenders.direct, upstream),
            "nginx": partial(contenders.nginx, upstream),
            "tunegate": gateway,
            "tunegate-2w": partial(gateway, workers=2),
        }
        for round_ in range(arguments.rounds):
            for name in arguments.who:
                with field[name]() as target:
                    for test in WARM_UP:
                        load(test, target)
                    starts.append(Start(name, round_, target.ready_s, memory_kib(target.session)))
                    # Two workers answer one question only: what a request costs beside one worker's.
                    tests = ["json-c64"] if name == "tunegate-2w" else arguments.tests
                    rows += [measure(test, target, round_) for test in tests]
    return Results(rows, starts)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def names(known: list[str]) -> Callable[[str], list[str]]:
    """Return a reader of comma-separated names that keeps the order of `known`."""

    def read(text: str) -> list[str]:
        asked = set(text.split(","))
        if unknown := asked - set(known):
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}"
            )
        return [name for name in known if name in asked]

    return read


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    standard = [name for name in TESTS if name != "burst-200"]
    contestants = ["direct", "nginx", "tunegate", "tunegate-2w"]
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured (3)")
    parser.add_argument(
        "--tests", type=names(list(TESTS)), default=standard, metavar="A,B", help=f"of: {', '.join(TESTS)}"
    )
    parser.add_argument(
        "--who",
        type=names(contestants),
        default=contestants,
        metavar="A,B",
        help=f"of: {', '.join(contestants)}",
    )
    parser.add_argument("--tls", action="store_true", help="the upstream speaks TLS")
    parser.add_argument(
        "--durability",
        choices=["everysec", "always"],
        default="everysec",
        help="of the embedded store (everysec)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every row there")
    parser.add_argument(
        "--profile", action="store_true", help="count instead: where a request's and a chunk's frames are"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if a budget is exceeded")
    scale = parser.add_argument_group("at size, instead of all this")
    parts = ["streams", "keys", "ledger"]
    scale.add_argument(
        "--scale",
        type=names(parts),
        nargs="?",
        const=parts,
        metavar="A,B",
        help=f"measure {', '.join(parts)}, or those named",
    )
    scale.add_argument("--streams", type=int, default=9000, metavar="N", help="open at once (9000)")
    scale.add_argument("--keys", type=int, default=2000, metavar="N", help="virtual keys (2000)")
    scale.add_argument("--aliases", type=int, default=200, metavar="N", help="aliases (200)")
    scale.add_argument("--events", type=int, default=10_000_000, metavar="N", help="of the ledger (10000000)")
    return parser.parse_args(argv)


def main() -> int:
    arguments = parse(sys.argv[1:])
    if arguments.profile:
        import steps  # noqa: PLC0415 - it needs the gateway itself, which the others only start

        steps.show()
        return 0
    if lacking := contenders.missing(arguments.tls):
        say("\n".join(lacking))
        return 2
    if len(os.sched_getaffinity(0)) < 2:
        say("needs two cores: one for the proxy, one for the load")
        return 2
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # 2000 streams are 4000 sockets of a proxy
    contenders.build()
    here = machine()
    if arguments.scale:
        import scale  # noqa: PLC0415 - it needs the gateway itself too

        return scale.show(arguments, here)
    results = run(arguments)
    budgets, is_kept = budget_table(results, tls=arguments.tls)
    settings = {"rounds": arguments.rounds, "tls": arguments.tls, "durability": arguments.durability}
    print("\n".join(f"{name}: {value}" for name, value in (here | settings).items()))
    print(f"\n{rows_table(results)}\n\n{LEGEND}\n\n{memory_table(results)}\n\n{budgets}")
    if arguments.json:
        found = {"machine": here, "settings": settings, **results.as_json()}
        arguments.json.write_text(json.dumps(found, indent=1))
    if any(row.errors for row in results.rows):
        say("some requests failed: the figures are not to be quoted")
        return 1
    return 1 if arguments.strict and not is_kept else 0


if __name__ == "__main__":
    sys.exit(main())
