"""What happens at size: thousands of open streams, thousands of keys, millions of records.

The other figures of the benchmark hold for one key and hundreds of streams. These say whether they go on to
hold; docs/scaling.md quotes them.
"""

import argparse
import json
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

sys.path.insert(0, str(Path(__file__).parent.parent))

import contenders
import ledger
from contenders import BUILD, Target
from processes import LOAD_CORE, Process, cpu_seconds, memory_kib, processes_of, start
from report import table
from stores import Server

from gateway.supervisor.paths import embedded_socket

SPARE_FILES = 200
"""Of a process that has streams open: its listener, the store, the log, connections to come."""

PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
STREAMS_A_SECOND = 500  # at which they are opened
HOLD_S = 20
ROUNDS = 3
LIMITS = {"rpm": 1_000_000, "tpm": 1_000_000_000, "concurrency": 10_000}
REQUESTS = 24_000  # of a round with many keys, and of one with a single key
IN_FLIGHT = 64


def show(arguments: argparse.Namespace, here: dict[str, Any]) -> int:
    """Measure the parts that are asked for and print them; 1 if something failed or took too long."""
    print("\n".join(f"{name}: {value}" for name, value in here.items()), flush=True)
    is_good = True
    with (BUILD / "log.txt").open("ab") as log, contenders.upstream(log, tls=False) as upstream:
        if "streams" in arguments.scale:
            is_good &= streams(upstream, arguments.streams)
        if "keys" in arguments.scale:
            is_good &= keys(upstream, arguments.keys, arguments.aliases)
        if "ledger" in arguments.scale:
            is_good &= ledger.show(upstream, arguments.events, arguments.keys, arguments.aliases)
    return 0 if is_good else 1


# --- open streams ----------------------------------------------------------------------------------------


def most_streams(files: int, ports: int) -> tuple[int, str]:
    """How many streams one worker can hold open here, and what bounds them."""
    by_files, by_ports = (files - SPARE_FILES) // 2, ports
    if by_files <= by_ports:
        return by_files, f"the hard limit of {files} open files: a stream takes two of the worker"
    return by_ports, f"the {ports} local ports: client and upstream are on this machine"


def streams(upstream: contenders.Upstream, wanted: int) -> bool:
    """Open so many streams in one worker, one chunk a second on each, and hold them."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    low, high = map(int, PORTS.read_text().split())
    most, because = most_streams(files, high - low)
    count = min(wanted, most)
    print(f"\n{count} streams at once in one worker; {most} fit here: {because}", flush=True)
    ramp_s = max(1, count // STREAMS_A_SECOND)
    model = f"mock-n{ramp_s + HOLD_S + 15}-d1000ms"
    options = ["-c", str(count), "-r", "1", "-w", str(1000 * ramp_s), "-T", str(ramp_s + HOLD_S + 30)]
    blocks = {"server": {"max_connections": count + 50, "max_in_flight": count + 50}}
    with contenders.direct(upstream) as target, _load(target, model, options) as direct:
        bare = direct()
    with contenders.tunegate(upstream, {}, blocks=blocks) as target:
        worker = next(each for each in processes_of(target.session) if each.kind == "worker")
        with _load(target, "mock-n20", ["-c", "8", "-r", "20"]) as warm_up:
            warm_up()
        rest_kib, rest_files = worker.rss_kib, _open_files(worker)
        with LagProbe(target.port) as quiet:
            time.sleep(2)
        with _load(target, model, options) as ended:
            deadline = time.monotonic() + ramp_s + 30
            while (most_files := _open_files(worker)) < 2 * count:
                if time.monotonic() > deadline:
                    print("not all streams were open at once: the figures are of those that were")
                    break
                time.sleep(0.2)
            time.sleep(2)
            began, cpu_before, waited = time.monotonic(), cpu_seconds(target.session), worker.waited_s
            with LagProbe(target.port) as lag:
                time.sleep(HOLD_S - 5)
            took, cpu_after = time.monotonic() - began, cpu_seconds(target.session)
            waited = worker.waited_s - waited
            held_kib, memory = worker.rss_kib, memory_kib(target.session)
            through = ended()
    chunks = count * took
    proxy, store = (
        1e6 * (after - before) / chunks for before, after in zip(cpu_before, cpu_after, strict=True)
    )
    figures = [
        ("streams open at once, one chunk a second each", f"{count}"),
        ("answers that failed", f"{through['errors']} of {count}"),
        ("memory of the worker before, with all open, MB", f"{rest_kib / 976.6:.0f}, {held_kib / 976.6:.0f}"),
        ("of it a stream, KiB", f"{(held_kib - rest_kib) / count:.1f}"),
        ("memory of the store meanwhile, MB", f"{sum(memory.get('store', [0])) / 976.6:.0f}"),
        ("descriptors of the worker before, with all open", f"{rest_files}, {most_files}"),
        ("CPU a chunk, of it the store, us", f"{proxy + store:.1f}, {store:.1f}"),
        ("CPU of the proxy's processes, % of a core", f"{chunks * proxy / took / 1e4:.0f}"),
        ("the worker was ready and others had its core, % of the time", f"{100 * waited / took:.0f}"),
        ("loop lag at rest, p50 p99 max, ms", quiet.text()),
        ("loop lag with all open, p50 p99 max, ms", lag.text()),
        ("a chunk's way, p50 p99 max, ms", _ways(through)),
        ("the same without a proxy, ms", _ways(bare)),
    ]
    print(table(["measure", "figure"], [list(row) for row in figures]))
    print(
        "Loop lag: a GET /healthz on a kept connection each 20 ms, from sent to answered: the loop must\n"
        "turn for that, and its own cost is in it. A chunk's way: upstream to client, while they opened too."
    )
    for reason in through["reasons"][:1]:
        print(f"failed: {reason}")
    return not through["errors"]


def _open_files(process: Process) -> int:
    return sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())


def _ways(result: dict[str, Any]) -> str:
    return ", ".join(f"{result[f'transit_{name}_ms']:.2f}" for name in ("p50", "p99", "max"))


class LagProbe:
    """Asks `GET /healthz` of a worker each 20 ms while the block runs: it is answered when the loop turns."""

    EVERY_S = 0.02
    REQUEST = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.ms: list[float] = []

    def _ask(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), 30) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._ended.wait(self.EVERY_S):
                began = time.perf_counter()
                sock.sendall(self.REQUEST)
                if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
                    return
                self.ms.append(1e3 * (time.perf_counter() - began))

    def text(self) -> str:
        return ", ".join(f"{value:.2f}" for value in quantiles(self.ms))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, the 99th percentile and the largest."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1]


@contextmanager
def _load(target: Target, model: str, options: Sequence[str]) -> Iterator[Any]:
    """Run the load generator beside the block, which is given what waits for its figures."""
    command = [str(BUILD / "load"), "-p", str(target.port), "-A", target.key, "-m", model, *options]
    with tempfile.TemporaryFile() as out:
        process = start(command, LOAD_CORE, sys.stderr.buffer, out=out)
        try:
            yield lambda: _result(process, out)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _result(process: subprocess.Popen[bytes], out: IO[bytes]) -> dict[str, Any]:
    if process.wait():
        sys.exit("the load generator failed")
    out.seek(0)
    return json.load(out)


# --- many keys and aliases -------------------------------------------------------------------------------


def keys(upstream: contenders.Upstream, key_count: int, alias_count: int) -> bool:
    """The same requests by one key for one alias, and by many for many, in turn on one gateway."""
    aliases = {f"alias-{number}": "mock" for number in range(alias_count)}
    with contenders.tunegate(upstream, aliases) as target, tempfile.TemporaryDirectory() as folder:
        print(f"\nmaking {key_count} keys in {alias_count} teams ...", flush=True)
        texts = [
            target.admin.ask(
                "/admin/v1/keys",
                {"name": f"key {number}", "team": f"team {number % alias_count}", "limits": LIMITS},
            )["key"]
            for number in range(key_count)
        ]
        files = {"one": [(texts[0], "alias-0")], "many": pairs(texts, list(aliases))}
        for name, each in files.items():
            (Path(folder) / name).write_text("".join(f"{key} {alias}\n" for key, alias in each))
        rows: dict[str, list[dict[str, float]]] = {"one": [], "many": []}
        errors = 0
        server = Server(embedded_socket(target.data_dir))
        server.ask("CONFIG", "SET", "auto-aof-rewrite-percentage", 0)  # so that the file only grows
        for _ in range(ROUNDS):
            for name, measured in rows.items():
                options = ["-K", f"{folder}/{name}", "-c", str(IN_FLIGHT), "-N", "-r"]
                # Not measured: what these keys have not done for seconds, such as having their record read.
                with _load(target, "mock", [*options, str(2 * key_count // IN_FLIGHT)]) as warm_up:
                    errors += warm_up()["errors"]
                options.append(str(REQUESTS // IN_FLIGHT))
                before, proxy, store = server.traffic(), *cpu_seconds(target.session)
                with _load(target, "mock", options) as ended:
                    result = ended()
                proxy_after, store_after = cpu_seconds(target.session)
                after = server.traffic()
                errors += result["errors"]
                done = max(1, result["ok"])
                row = {what: (after[what] - before[what]) / done for what in after}
                row |= {
                    "cpu_us": 1e6 * (proxy_after - proxy) / done,
                    "store_us": 1e6 * (store_after - store) / done,
                }
                measured.append(row | {"per_s": done / result["seconds"], "p99_ms": result["total_p99_ms"]})
        memory = memory_kib(target.session)
    medians = {
        name: {what: statistics.median(row[what] for row in each) for what in each[0]}
        for name, each in rows.items()
    }
    print(keys_table(medians, key_count, alias_count))
    print(f"RSS of the worker {max(memory['worker']) / 976.6:.0f} MB; failed: {errors}")
    print(f"CPU a request, {key_count} keys and {alias_count} aliases to one of each: {ratio(medians):.3f}")
    return not errors


def pairs(texts: Sequence[str], aliases: Sequence[str]) -> list[tuple[str, str]]:
    """(key, alias) for each key, every alias as often as the next, in no order that repeats nearby."""
    found = [(text, aliases[number % len(aliases)]) for number, text in enumerate(texts)]
    random.Random(1).shuffle(found)
    return found


def ratio(medians: dict[str, dict[str, float]]) -> float:
    """CPU of a request, the store's included: with many keys against one."""
    many, one = (medians[name]["cpu_us"] + medians[name]["store_us"] for name in ("many", "one"))
    return many / one


KEY_COLUMNS = [
    ("requests a second", "per_s", 0),
    ("CPU of the gateway, us", "cpu_us", 1),
    ("CPU of the store, us", "store_us", 1),
    ("p99, ms", "p99_ms", 2),
    ("to the store, bytes", "in", 0),
    ("from the store, bytes", "out", 0),
    ("append-only file, bytes", "file", 0),
    ("the store's memory, bytes", "memory", 0),
    ("commands, those within scripts too", "commands", 1),
]


def keys_table(medians: dict[str, dict[str, float]], key_count: int, alias_count: int) -> str:
    """One line a measure of a request; medians of the rounds."""
    lines = []
    for head, what, digits in KEY_COLUMNS:
        one, many = medians["one"][what], medians["many"][what]
        lines.append([head, f"{one:.{digits}f}", f"{many:.{digits}f}", f"{many / one:.3f}" if one else ""])
    return table(
        ["of a request", "1 key, 1 alias", f"{key_count} keys, {alias_count} aliases", "ratio"], lines
    )
