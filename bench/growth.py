"""How the gateway grows, on paper: what a load takes of each part, and how keys spread over primaries.

Makes the tables of docs/scaling.md; `python3 dev.py docs` writes them there. Every figure they rest on is
read from docs/performance.md and from the measured table of docs/scaling.md; what is assumed stands in `Load`
and `Machines`. Chance is seeded, so equal figures make equal tables.
"""

import math
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from redis.crc import key_slot

from gateway.auth.virtual_key import SHARDS, shard_of

ROOT = Path(__file__).resolve().parent.parent
SLOTS = 16_384
PRIMARIES = (3, 6, 16)
TEAMS = (100, 1_000, 100_000)
DRAWS = 5
SEED = 64


@dataclass(frozen=True)
class Load:
    """What is asked of the whole deployment at its busiest."""

    streams: int = 100_000
    requests_per_s: int = 20_000
    chunks_per_s: float = 20.0
    """Of one stream: a token each, as hosted models give them."""

    chunk_bytes: int = 250
    mean_of_peak: float = 1 / 3
    """A day's mean load, as part of the busiest moment's."""


@dataclass(frozen=True)
class Machines:
    """What one of each is, and how full it may be."""

    full: float = 0.6
    """Of a core or a network: above it, waiting grows faster than work."""

    workers_of_a_pod: int = 4
    primary_memory_gb: float = 64.0
    network_gbit_s: float = 10.0
    disk_mb_s: float = 200.0


@dataclass(frozen=True)
class Facts:
    """Measured figures. Each names the page, the row and the column that it is read from."""

    request_us: float
    request_store_us: float
    chunk_us: float
    worker_mb: float
    stream_kib: float
    store_in_bytes: float
    store_out_bytes: float
    file_bytes: float
    record_bytes: float
    mark_bytes: float
    counter_bytes: float
    exported_bytes: float
    line_bytes: float


SOURCES = {  # page, beginning of the row, column, which number of the cell
    "request_us": ("performance", "CPU per JSON request, 64 in flight", "tunegate", 0),
    "request_store_us": ("performance", "CPU per JSON request, 64 in flight", "tunegate", 1),
    "chunk_us": ("performance", "CPU per chunk, 500 streams", "tunegate", 0),
    "worker_mb": ("performance", "memory of a worker at rest", "tunegate", 0),
    "stream_kib": ("scaling", "memory of an open stream", "figure", 0),
    "store_in_bytes": ("scaling", "bytes to the store", "figure", 0),
    "store_out_bytes": ("scaling", "bytes from the store", "figure", 0),
    "file_bytes": ("scaling", "bytes of the append-only file", "figure", 0),
    "record_bytes": ("scaling", "a record in the store's memory", "figure", 0),
    "mark_bytes": ("scaling", "a call's mark", "figure", 0),
    "counter_bytes": ("scaling", "a counter", "figure", 0),
    "exported_bytes": ("scaling", "a record as a line of JSON", "figure", 0),
    "line_bytes": ("scaling", "an access line", "figure", 0),
}


def read_facts(pages: dict[str, str]) -> Facts:
    """Read them out of the pages' tables. Raises `ValueError` naming the row that is not there."""
    return Facts(**{field.name: _figure(pages, *SOURCES[field.name]) for field in fields(Facts)})


def _figure(pages: dict[str, str], page: str, row: str, column: str, which: int) -> float:
    heads: list[str] = []
    for line in pages[page].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if column in cells:
            heads = cells
        elif not cells:
            heads = []
        elif heads and cells[0].startswith(row):
            numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", cells[heads.index(column)])
            if len(numbers) > which:
                return float(numbers[which].replace(",", ""))
    raise ValueError(
        f"docs/{page}.md: no number {which + 1} in a row {row!r}, column {column!r}: bench/growth.py, SOURCES"
    )


# --- what a load takes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """What a load takes of one part: `one_holds` so many requests a second with all that goes with them."""

    part: str
    takes: str
    one: str
    one_holds: float
    needed: int


def needs(facts: Facts, load: Load, machines: Machines) -> list[Need]:
    """Every part, that which is full first at the head."""
    rate, chunk_rate = load.requests_per_s, load.streams * load.chunks_per_s
    relay_cores, request_cores = chunk_rate * facts.chunk_us / 1e6, rate * facts.request_us / 1e6
    store_cores = rate * facts.request_store_us / 1e6
    sent = rate * (facts.store_in_bytes + facts.store_out_bytes + facts.file_bytes)  # to one replica, too
    day_gb = load.mean_of_peak * rate * 86_400 * (facts.record_bytes + facts.mark_bytes) / 1e9
    relayed = 2 * chunk_rate * load.chunk_bytes
    bytes_of_network = machines.network_gbit_s * 1e9 / 8

    def need(part: str, takes: str, one: str, units: float) -> Need:
        return Need(part, takes, one, rate / units, math.ceil(units))

    found = [
        need(
            "CPU of workers",
            f"{relay_cores:.0f} cores for chunks, {request_cores:.1f} for requests",
            f"a worker at {machines.full:.0%}",
            (relay_cores + request_cores) / machines.full,
        ),
        need(
            "records and marks, kept one day",
            f"{day_gb:,.0f} GB, a day's mean being {load.mean_of_peak:.0%} of this",
            f"a primary of {machines.primary_memory_gb:.0f} GB at {machines.full:.0%}",
            day_gb / machines.primary_memory_gb / machines.full,
        ),
        need(
            "CPU of the store",
            f"{store_cores:.1f} cores",
            f"a primary, one thread at {machines.full:.0%}",
            store_cores / machines.full,
        ),
        need(
            "append-only file",
            f"{rate * facts.file_bytes / 1e6:.0f} MB/s",
            f"a disk of {machines.disk_mb_s:.0f} MB/s at {machines.full:.0%}",
            rate * facts.file_bytes / 1e6 / machines.disk_mb_s / machines.full,
        ),
        need(
            "network of workers",
            f"{relayed / 1.25e8:.1f} Gbit/s, in and out",
            f"{machines.network_gbit_s:.0f} Gbit/s at {machines.full:.0%}",
            relayed / bytes_of_network / machines.full,
        ),
        need(
            "network of the store, one replica each",
            f"{sent / 1.25e8:.2f} Gbit/s",
            f"{machines.network_gbit_s:.0f} Gbit/s at {machines.full:.0%}",
            sent / bytes_of_network / machines.full,
        ),
    ]
    return sorted(found, key=lambda each: each.one_holds)


def needs_table(facts: Facts, load: Load, machines: Machines) -> str:
    rows = [
        [each.part, each.takes, each.one, f"{each.one_holds:,.0f}", f"{each.needed}"]
        for each in needs(facts, load, machines)
    ]
    return _table(["part", "the load takes", "one is", "and holds, requests/s", "needed"], rows)


def worker_table(facts: Facts, load: Load, machines: Machines) -> str:
    """What one worker and one pod have to hold when the load is spread over those that its CPU needs."""
    workers = next(each for each in needs(facts, load, machines) if each.part == "CPU of workers").needed
    streams = load.streams / workers
    pods = math.ceil(workers / machines.workers_of_a_pod)
    memory = facts.worker_mb + streams * facts.stream_kib * 1024 / 1e6
    rows = [
        ["workers; pods", f"{workers}; {pods} of {machines.workers_of_a_pod} workers"],
        ["streams of a worker; its descriptors", f"{streams:,.0f}; {2 * streams:,.0f}"],
        ["requests a second of a worker", f"{load.requests_per_s / workers:,.0f}"],
        ["memory of a worker; of all", f"{memory:,.0f} MB; {memory * workers / 1000:,.0f} GB"],
        ["access lines", f"{load.requests_per_s * facts.line_bytes / 1e6:,.1f} MB/s"],
        ["looks for the dead, of all control processes", f"{pods * SHARDS / 5:,.0f} small calls a second"],
    ]
    return _table(["with the load spread evenly", "figure"], rows)


def bill_table(facts: Facts, load: Load) -> str:
    """Bytes of one request, and of the whole load."""
    rate, day = load.requests_per_s, load.requests_per_s * 86_400 * load.mean_of_peak
    rows = [
        [name, f"{each:,.0f}", f"{rate * each / 1e6:,.0f} MB/s", f"{day * each / 1e9:,.0f} GB"]
        for name, each in (
            ("worker to store: two scripts with their arguments", facts.store_in_bytes),
            ("store to worker", facts.store_out_bytes),
            ("store to each replica, and to its append-only file", facts.file_bytes),
            ("record in the store's memory", facts.record_bytes),
            ("mark in the store's memory, for a day", facts.mark_bytes),
            ("record, exported as a line of JSON", facts.exported_bytes),
            ("access line", facts.line_bytes),
        )
    ]
    return _table(["what", "bytes a request", "at the busiest", "a day"], rows)


# --- how keys spread -------------------------------------------------------------------------------------


def zipf(count: int) -> list[float]:
    """Shares of traffic: the n-th team has 1/n of the first one's."""
    weights = [1 / rank for rank in range(1, count + 1)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def shard_loads(shares: Sequence[float], draw: int) -> list[float]:
    """The share of traffic of each shard, where teams bear names of this draw."""
    loads = [0.0] * SHARDS
    for number, share in enumerate(shares):
        loads[int(shard_of(f"team {SEED}-{draw}-{number}"))] += share
    return loads


def by_ranges(primaries: int) -> list[int]:
    """The primary of each shard where slots are dealt in equal ranges, as `--cluster create` does."""
    return [key_slot(f"s{shard:02d}".encode()) * primaries // SLOTS for shard in range(SHARDS)]


def by_count(primaries: int) -> list[int]:
    """The primary of each shard where each has as many shards as the next, whatever they bear."""
    return [shard % primaries for shard in range(SHARDS)]


def by_load(loads: Sequence[float], primaries: int) -> list[int]:
    """The primary of each shard where slots were moved by load: the heaviest first, to the least loaded."""
    borne, found = [0.0] * primaries, [0] * SHARDS
    for shard in sorted(range(SHARDS), key=lambda each: (-loads[each], each)):
        found[shard] = min(range(primaries), key=lambda each: (borne[each], each))
        borne[found[shard]] += loads[shard]
    return found


def busiest(loads: Sequence[float], placed: Sequence[int], primaries: int) -> float:
    """Traffic of the busiest primary, as a multiple of an even share."""
    borne = [0.0] * primaries
    for load, primary in zip(loads, placed, strict=True):
        borne[primary] += load
    return max(borne) * primaries / math.fsum(loads)


def shards_table() -> str:
    """How many shards each primary has."""
    rows = []
    for primaries in PRIMARIES:
        counts = [by_ranges(primaries).count(primary) for primary in range(primaries)]
        even = [by_count(primaries).count(primary) for primary in range(primaries)]
        rows.append([str(primaries), ", ".join(map(str, counts)), f"{min(even)} to {max(even)}"])
    return _table(
        ["primaries", "shards of each, slots in equal ranges", "shards of each, dealt by hand"], rows
    )


def spread_table() -> str:
    """The busiest primary's traffic for numbers of teams: median and worst of the draws."""
    drawn = {teams: [shard_loads(zipf(teams), draw) for draw in range(DRAWS)] for teams in TEAMS}
    rows = []
    for primaries in PRIMARIES:
        for teams, loads in drawn.items():
            placements = (
                [by_ranges(primaries)] * DRAWS,
                [by_count(primaries)] * DRAWS,
                [by_load(each, primaries) for each in loads],
            )
            figures = [
                [busiest(each, placed, primaries) for each, placed in zip(loads, places, strict=True)]
                for places in placements
            ]
            cells = [f"{statistics.median(each):.2f} ({max(each):.2f})" for each in figures]
            rows.append([str(primaries), f"{teams:,}", f"{zipf(teams)[0] * primaries:.2f}", *cells])
    return _table(
        [
            "primaries",
            "teams",
            "largest team alone",
            "slots in equal ranges",
            "shards dealt by hand",
            "placed by load",
        ],
        rows,
    )


def tenant_table(facts: Facts, load: Load, machines: Machines) -> str:
    """A tenant with much of all traffic beside 1,000 others, on the largest cluster: whole, in parts."""
    primaries, capacity = PRIMARIES[-1], machines.full * 1e6 / facts.request_store_us
    rows = []
    for share in (0.25, 0.5, 0.75):
        for parts in (1, 4, 16):
            figures = [_with_tenant(share, parts, draw, primaries) for draw in range(DRAWS)]
            most = load.requests_per_s * statistics.median(figures)
            verdict = "holds" if most <= capacity else f"above its {capacity:,.0f}"
            rows.append(
                [
                    f"{share:.0%}",
                    str(parts),
                    f"{most:,.0f}",
                    f"{most / capacity * machines.full:.0%}",
                    verdict,
                ]
            )
    return _table(
        ["the tenant's share", "in parts", "busiest primary, requests/s", "of its thread", "at that load"],
        rows,
    )


def _with_tenant(share: float, parts: int, draw: int, primaries: int) -> float:
    """The busiest primary's share of all traffic, slots placed by load."""
    loads = [(1 - share) * each for each in shard_loads(zipf(1_000), draw)]
    for part in range(parts):
        loads[int(shard_of(f"large {SEED}-{draw}/{part}"))] += share / parts
    return busiest(loads, by_load(loads, primaries), primaries) / primaries


# --- printing --------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(facts: Facts, load: Load | None = None, machines: Machines | None = None) -> dict[str, str]:
    """Every table of docs/scaling.md by its name."""
    load, machines = load or Load(), machines or Machines()
    slow = replace(load, chunks_per_s=5.0)
    return {
        "needs": needs_table(facts, load, machines),
        "needs-slow": needs_table(facts, slow, machines),
        "worker": worker_table(facts, load, machines),
        "bill": bill_table(facts, load),
        "shards": shards_table(),
        "spread": spread_table(),
        "tenant": tenant_table(facts, load, machines),
    }


def blocks() -> dict[str, str]:
    """The same from the pages as they are now."""
    pages = {name: (ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("performance", "scaling")}
    return tables(read_facts(pages))


def main() -> int:
    for name, text in blocks().items():
        print(f"{name}\n\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
