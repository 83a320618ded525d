"""Measure Tunegate beside nginx and the bare upstream, interleaved in one run, on two cores.

The proxy has core 0, the mock upstream and the load generator share core 1. Quote CPU microseconds and the
ratio to nginx of the same run, never a rate alone: see docs/performance.md.
"""

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import beside
import contenders
import peers
from contenders import BUILD, Target
from loads import (
    ALIASES,
    BESIDE_PEERS,
    KEPT,
    MODELS,
    ON_REQUEST,
    OWN_TESTS,
    TESTS,
    WARM_UP,
    WARM_UP_KEPT,
    load,
    tests_of,
)
from processes import Process, cpu_seconds, memory_kib, processes_of
from report import ALWAYS, Results, Row, Start, budget_table, durability_table, memory_table, rows_table

COUNTS_LATE_S = 10  # a gateway's own counts may be some seconds old
OURS = ["direct", "nginx", "tunegate", *OWN_TESTS]


LEGEND = """\
p50, p99: of JSON the whole answer, of streams the time to the first chunk; way: of a chunk, from the upstream
to the client. CPU of all threads of the proxy's processes, the store's beside it. Medians of the rounds."""


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


def proxies_of(session: int) -> list[Process]:
    """The living processes that a row's CPU time is read of; a store forks, to rewrite its file."""
    return [process for process in processes_of(session) if process.kind != "store"]


def measure(name: str, target: Target, round_: int) -> Row:
    """Run one test against a contender and read what it cost."""
    test = TESTS[name]
    members = proxies_of(target.session)
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
        proxies_of(target.session) != members
    ):  # CPU time of a process that ended is lost, so the row is not true
        result["errors"] += 1
        result["reasons"].append("a process of the contender ended or was started")
    if test.by_alias in KEPT and (called := _not_kept(target, result["ok"])):
        result["errors"] += called
        result["reasons"].append(f"{called} answers did not come from the cache")
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


def _not_kept(target: Target, wanted: int) -> int:
    """Return how many of `wanted` answers did not come from the cache; the warm-up's count as well."""
    deadline = time.monotonic() + COUNTS_LATE_S
    while True:
        results = target.admin.ask("/admin/v1/cache")["results"]
        lacking = wanted - results["hit"] - results["shared"]
        if lacking <= 0 or time.monotonic() > deadline:
            return max(lacking, 0)
        time.sleep(0.2)


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
        "load": round(os.getloadavg()[0], 2),
        "fsync_ms": round(fsync_ms(Path(tempfile.gettempdir())), 3),
    }


def run(arguments: argparse.Namespace) -> Results:
    """Run every round: each contender is started anew, warmed up and given its tests."""
    rows: list[Row] = []
    starts: list[Start] = []
    with ExitStack() as stack:
        log = stack.enter_context((BUILD / "log.txt").open("ab"))
        upstream = stack.enter_context(contenders.upstream(log, tls=arguments.tls))
        limits = peers.LIMITS | {"concurrency": 100_000}  # else 100: each is looked at, and none is met
        gateway = partial(contenders.tunegate, upstream, durability=arguments.durability, limits=limits)
        plain = partial(gateway, ALIASES)
        field: dict[str, Callable[[], AbstractContextManager[Target]]] = {
            "direct": partial(contenders.direct, upstream),
            "nginx": partial(contenders.nginx, upstream),
            "tunegate": plain,
            "tunegate-2w": partial(plain, name="tunegate-2w", workers=2),
            ALWAYS: partial(plain, name=ALWAYS, durability="always"),
            "tunegate-cache": partial(gateway, {}, name="tunegate-cache", blocks={"aliases": KEPT}),
            "portkey": partial(peers.portkey, upstream),
            "litellm": partial(peers.litellm, upstream, MODELS),
        }
        for round_ in range(arguments.rounds):
            for name in arguments.who:
                if not (tests := tests_of(name, arguments.tests)):
                    continue
                with field[name]() as target:
                    for test in WARM_UP_KEPT if name == "tunegate-cache" else WARM_UP:
                        load(test, target)
                    starts.append(Start(name, round_, target.ready_s, memory_kib(target.session)))
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
    contestants = [*OURS, *peers.NAMES]
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is measured (3)")
    parser.add_argument("--tests", type=names(list(TESTS)), metavar="A,B", help=f"of: {', '.join(TESTS)}")
    parser.add_argument(
        "--who",
        type=names(contestants),
        metavar="A,B",
        help=f"of: {', '.join(contestants)}",
    )
    parser.add_argument("--peers", action="store_true", help="beside LiteLLM and Portkey, with their loads")
    parser.add_argument(
        "--publish", type=Path, metavar="FILE", help="draw the rows of a run with --peers, measure nothing"
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
    arguments = parser.parse_args(argv)
    if arguments.tests is None:
        standard = [name for name in TESTS if name not in ON_REQUEST]
        arguments.tests = BESIDE_PEERS if arguments.peers else standard
    if arguments.who is None:
        arguments.who = ["nginx", "tunegate", *peers.NAMES] if arguments.peers else OURS
    if arguments.tls and set(arguments.who) & set(peers.NAMES):
        parser.error("--tls goes without the peers")
    return arguments


def main() -> int:
    arguments = parse(sys.argv[1:])
    if arguments.profile:
        import steps  # noqa: PLC0415 - it needs the gateway itself, which the others only start

        steps.show()
        return 0
    if arguments.publish:
        beside.publish(arguments.publish)
        return 0
    if lacking := contenders.missing(arguments.tls) + peers.missing(arguments.who):
        say("\n".join(lacking))
        return 2
    if len(os.sched_getaffinity(0)) < 2:
        say("needs two cores: one for the proxy, one for the load")
        return 2
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # 2000 streams are 4000 sockets of a proxy
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the contenders end with us
    contenders.build()
    peers.install(arguments.who)
    here = machine()
    if arguments.scale:
        import scale  # noqa: PLC0415 - it needs the gateway itself too

        return scale.show(arguments, here)
    results = run(arguments)
    budgets, is_kept = budget_table(results, tls=arguments.tls)
    settings = {"rounds": arguments.rounds, "tls": arguments.tls, "durability": arguments.durability}
    if arguments.peers:
        settings |= {
            "day": f"{datetime.now(UTC):%Y-%m-%d}",
            "limits": peers.LIMITS,
            "versions": peers.versions(),
        }
    print("\n".join(f"{name}: {value}" for name, value in (here | settings).items()))
    print(f"\n{rows_table(results)}\n\n{LEGEND}\n\n{memory_table(results)}\n\n{budgets}")
    if durability := durability_table(results, here["fsync_ms"]):
        print(f"\n{durability}")
    if arguments.peers:
        print(f"\n{beside.table(results, settings['versions'])}")
    if arguments.json:
        found = {"machine": here, "settings": settings, **results.as_json()}
        arguments.json.write_text(json.dumps(found, indent=1))
    failed = {row.who for row in results.rows if row.errors}
    for who in sorted(failed):
        say(f"{who}: {results.errors(who)} answers failed")
    if failed - set(peers.NAMES):
        say("some requests failed: the figures are not to be quoted")
        return 1
    return 1 if arguments.strict and not is_kept else 0


if __name__ == "__main__":
    sys.exit(main())
