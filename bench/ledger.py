"""A ledger of millions of records: what a key's month costs to ask for, and what an export takes."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self
from urllib.parse import quote

import contenders
from bulk import BulkLedger
from contenders import Target
from processes import Process, processes_of
from report import table
from stores import Server

from gateway.auth.virtual_key import new_key_id
from gateway.limits.values import Settlement
from gateway.metering.record import AttemptRecord, LedgerRecord
from tests.support.valkey import ValkeyServer

DAYS, DAY_S = 30, 86_400
QUERIES = 300
MOST_MS = 100
ALIASES_OF_A_KEY = 3
SEED = 8


@dataclass(frozen=True)
class Caller:
    """A virtual key, and what it asks for."""

    key: str
    team: str
    aliases: tuple[str, ...]


def callers(key_count: int, alias_count: int) -> list[Caller]:
    """So many keys in as many teams as there are aliases."""
    draw = random.Random(SEED)
    found = []
    for number in range(key_count):
        team = f"team {number % alias_count}"
        aliases = tuple(f"alias-{(number + step) % alias_count}" for step in range(ALIASES_OF_A_KEY))
        found.append(Caller(new_key_id(team, draw.randrange), team, aliases))
    return found


def settlements(those: list[Caller], events: int, start: int, end: int) -> Iterator[tuple[Settlement, int]]:
    """Calls spread evenly over a time (unix seconds), and the ms when each was settled.

    The n-th key has 1/n of the first one's.
    """
    draw = random.Random(SEED)
    weights = list(accumulate(1 / (place + 1) for place in range(len(those))))
    step_ms = 1000 * (end - start) / events
    done = 0
    while done < events:
        batch = min(50_000, events - done)
        for caller in draw.choices(those, cum_weights=weights, k=batch):
            admitted_ms = int(1000 * start + done * step_ms)
            yield _settlement(caller, done, admitted_ms, draw), admitted_ms + 900
            done += 1


def _settlement(caller: Caller, number: int, admitted_ms: int, draw: random.Random) -> Settlement:
    alias = caller.aliases[number % len(caller.aliases)]
    prompt, completion = 200 + int(draw.random() * 3000), 20 + int(draw.random() * 500)
    cost = prompt * 800 + completion * 3200
    model = f"ft:gpt-4.1-mini-2025-04-14:acme:{alias}:AbC123dE"
    record = LedgerRecord(
        request_id=f"req_{number:032x}",
        ts=admitted_ms / 1000,
        key=caller.key,
        team=caller.team,
        alias=alias,
        release=f"{alias}@1/stable",
        model=model,
        upstream="openai",
        upstream_request_id=f"req_{number:024x}",
        route="chat.completions",
        state="exact",
        stream=True,
        fallback="none",
        attempts=(
            AttemptRecord(
                upstream="openai",
                model=model,
                outcome="committed",
                state="exact",
                prompt_tokens=prompt,
                completion_tokens=completion,
                cost_nanousd=cost,
            ),
        ),
        prompt_tokens=prompt,
        cached_tokens=0,
        completion_tokens=completion,
        reasoning_tokens=0,
        cost_nanousd=cost,
        price_version="2026-11",
        usage_source="upstream",
        error_type="upstream_timeout" if number % 100 == 99 else None,
        ttft_ms=412.5,
        duration_ms=900.0,
    )
    return record.settlement(admitted_ms=admitted_ms, tokens_actual=prompt + completion, was_reserved=False)


def show(upstream: contenders.Upstream, events: int, key_count: int, alias_count: int) -> bool:
    """Fill, ask, export; print what that took."""
    end = int(time.time()) - 2
    start = end // DAY_S * DAY_S - (DAYS - 1) * DAY_S
    those = callers(key_count, alias_count)
    print(f"\n{events} records of {key_count} keys and {alias_count} aliases, {DAYS} days ...", flush=True)
    # nothing on disk: this is about reading
    with ValkeyServer(restricted=False) as valkey:
        with Server(str(valkey.path)) as server:
            truth, filled = fill(server, those, events, start, end)
            print(filled, flush=True)
            print(table(["kept", "keys", "entries", "memory, MB"], kept(server)), flush=True)
        store = {"store": {"url": valkey.url, "timeout_ms": 1000}}
        with contenders.tunegate(upstream, {}, blocks=store) as target:
            is_good = ask(target, those, truth, start, end)
            is_good &= export(target, events, start, end)
    return is_good


def fill(server: Server, those: list[Caller], events: int, start: int, end: int) -> tuple[Counter[str], str]:
    """Write the calls; returns how many each key has, and what that took, in words."""
    before = server.traffic()["memory"]
    began = time.monotonic()
    bulk = BulkLedger(server.send, int(time.time() * 1000))
    truth: Counter[str] = Counter()
    size = 0
    for settlement, settled_ms in settlements(those, events, start, end):
        bulk.settle(settlement, settled_ms)
        truth[settlement.key_id] += 1
        size += len(settlement.record)
    bulk.close()
    server.settle()
    took = time.monotonic() - began
    memory = server.traffic()["memory"] - before
    words = (
        f"filled in {took:.0f} s; a record is {size / events:.0f} bytes; the store takes "
        f"{memory / 1e9:.2f} GB, {memory / events:.0f} bytes a record with its counters"
    )
    return truth, words


KINDS = {  # pattern of the names, what counts the entries
    "records": ("{s??}:ledger", "XLEN"),
    "counters of days": ("{s??}:use:d:*", "HLEN"),
    "counters of hours": ("{s??}:use:h:*", "HLEN"),
}


def kept(server: Server) -> list[list[str]]:
    """What is in the store by kind: keys, entries, and memory as the server estimates it from samples."""
    lines = []
    for kind, (pattern, length) in KINDS.items():
        names, cursor = [], b""
        while cursor != b"0":
            cursor, some = server.ask("SCAN", cursor or b"0", "MATCH", pattern, "COUNT", 10_000)
            names += some
        entries = sum(server.ask(length, name) for name in names)
        memory = sum(server.ask("MEMORY", "USAGE", name, "SAMPLES", 100) for name in names)
        lines.append([kind, str(len(names)), str(entries), f"{memory / 1e6:.0f}"])
    return lines


def ask(target: Target, those: list[Caller], truth: Counter[str], start: int, end: int) -> bool:
    """Ask for the month of one key after another, the busiest first. Each answer is checked."""
    draw = random.Random(SEED)
    chosen = [those[0], *draw.choices(those, k=QUERIES - 1)]
    shapes = {"in one sum": "", "by day": "&group_by=day", "by model": "&group_by=model"}
    days = f"from={start}&to={end // DAY_S * DAY_S + DAY_S}"
    lines, is_good = [], True
    for name, shape in shapes.items():
        times, wrong = [], 0
        with Admin(target) as admin:
            for caller in chosen:
                path = f"/admin/v1/usage?key={quote(caller.key)}&{days}{shape}"
                began = time.perf_counter()
                status, body = admin.get(path)
                times.append(1e3 * (time.perf_counter() - began))
                rows = json.loads(body)["data"] if status == 200 else []
                wrong += sum(row["requests"] for row in rows) != truth[caller.key]
        times.sort()
        p50, p99, most = times[len(times) // 2], times[int(len(times) * 0.99)], times[-1]
        is_kept = p99 < MOST_MS and not wrong
        is_good &= is_kept
        verdict = "kept" if is_kept else "EXCEEDED"
        lines.append([name, f"{p50:.1f}", f"{p99:.1f}", f"{most:.1f}", str(wrong), verdict])
    print(
        table(["one key's month", "p50 ms", "p99 ms", "max ms", "wrong sums", f"p99 < {MOST_MS} ms"], lines)
    )
    return is_good


def export(target: Target, events: int, start: int, end: int) -> bool:
    """Take all records as JSON lines; the control process's memory at each quarter."""
    control = next(each for each in processes_of(target.session) if each.kind == "control")
    rest = control.rss_kib
    rows = size = 0
    lines: list[list[str]] = []
    began = time.monotonic()
    with Admin(target) as admin, RssWatch(control) as watch:
        for piece in admin.pieces(f"/admin/v1/usage/export?format=jsonl&from={start}&to={end + 60}"):
            rows += piece.count(b"\n")
            size += len(piece)
            while len(lines) < 4 and rows >= events * (len(lines) + 1) // 4:
                took = time.monotonic() - began
                lines.append(
                    [f"{rows}", f"{took:.0f}", f"{size / 1e9:.2f}", f"{control.rss_kib / 976.6:.0f}"]
                )
    print(f"export: {rows} rows; the control process took {rest / 976.6:.0f} MB before, {watch.text()}")
    print(table(["rows", "s", "GB", "RSS of control, MB"], lines))
    return rows == events


class RssWatch:
    """The largest resident memory of a process while the block runs, and that of its first ten seconds."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.early_kib = self.most_kib = 0

    def _look(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(0.2):
            self.most_kib = max(self.most_kib, self._process.rss_kib)
            if time.monotonic() - began < 10:
                self.early_kib = self.most_kib

    def text(self) -> str:
        return f"{self.early_kib / 976.6:.0f} MB within 10 s, {self.most_kib / 976.6:.0f} MB at most"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class Admin:
    """A kept connection to the control plane."""

    def __init__(self, target: Target) -> None:
        self._headers = {"authorization": f"Bearer {target.admin.key}"}
        self._connection = http.client.HTTPConnection(target.admin.url.partition("://")[2], timeout=60)

    def get(self, path: str) -> tuple[int, bytes]:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def pieces(self, path: str) -> Iterator[bytes]:
        self._connection.request("GET", path, headers=self._headers)
        answer: Any = self._connection.getresponse()
        if answer.status != http.client.OK:
            raise RuntimeError(answer.read().decode())
        while piece := answer.read1(1 << 20):
            yield piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
