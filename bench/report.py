"""From measured rows to the tables that are read: medians of rounds, ratios to nginx, budgets."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

GATEWAY = "tunegate"
ALWAYS = "tunegate-always"
"""The same with `durability: always`."""


@dataclass(frozen=True)
class Row:
    """One test of one contender in one round. `unit` is what `cpu_us` and `store_us` are counted for."""

    who: str
    test: str
    round: int
    unit: str
    errors: int
    reason: str
    per_s: float
    cpu_us: float
    store_us: float
    cpu_percent: float
    p50_ms: float
    p99_ms: float
    transit_p50_ms: float | None
    transit_p99_ms: float | None
    stream_kib: float | None = None
    """Memory a stream takes while it is open, where the test measures it."""


@dataclass(frozen=True)
class Start:
    """One start of a contender: seconds until it was ready, and KiB at rest by kind of process."""

    who: str
    round: int
    ready_s: float | None
    memory_kib: dict[str, list[int]]


@dataclass(frozen=True)
class Results:
    """Everything one run measured."""

    rows: list[Row]
    starts: list[Start]

    def median(self, who: str, test: str, field: str) -> float | None:
        """Return the median of a row's field over the rounds; None if it was not measured."""
        found = [getattr(row, field) for row in self.rows if (row.who, row.test) == (who, test)]
        return statistics.median(found) if found and None not in found else None

    def ratio(self, test: str, field: str, *, who: str = GATEWAY, to: str = "nginx") -> float | None:
        above, below = self.median(who, test, field), self.median(to, test, field)
        return above / below if above is not None and below else None

    def ready_s(self) -> float | None:
        found = [start.ready_s for start in self.starts if start.who == GATEWAY and start.ready_s is not None]
        return statistics.median(found) if found else None

    def whole_cpu_us(self, who: str, test: str) -> float | None:
        """Return the median of what a request or chunk costs, the store's share included."""
        found = [row.cpu_us + row.store_us for row in self.rows if (row.who, row.test) == (who, test)]
        return statistics.median(found) if found else None

    def errors(self, who: str, test: str | None = None) -> int:
        """Return how many answers failed in all rounds: of one test, or of all."""
        return sum(row.errors for row in self.rows if row.who == who and test in (None, row.test))

    def rest_kib(self, who: str = GATEWAY) -> dict[str, float]:
        """Return the median memory at rest of the largest process of each kind."""
        starts = [start.memory_kib for start in self.starts if start.who == who]
        kinds = sorted({kind for memory in starts for kind in memory})
        return {kind: statistics.median(max(memory.get(kind, [0])) for memory in starts) for kind in kinds}

    def as_json(self) -> dict:
        return {
            "rows": [asdict(row) for row in self.rows],
            "starts": [asdict(start) for start in self.starts],
        }

    @classmethod
    def from_json(cls, document: dict) -> "Results":
        """Read what `as_json` made, other fields beside it."""
        return cls([Row(**row) for row in document["rows"]], [Start(**each) for each in document["starts"]])


@dataclass(frozen=True)
class Budget:
    """What the hot path may cost: `must` is the bound, `aim` the hope."""

    measure: str
    must: float
    aim: float
    unit: str
    value: Callable[[Results], float | None]


def budgets(*, tls: bool) -> list[Budget]:
    """Return the budgets that a run without or with TLS to the upstream is held to."""
    if tls:
        return [
            Budget(
                "CPU per JSON request, 64 in flight, TLS",
                3.5,
                2,
                "x nginx",
                lambda r: r.ratio("json-c64", "cpu_us"),
            )
        ]
    return [
        Budget(
            "CPU per JSON request, 64 in flight", 5, 2.5, "x nginx", lambda r: r.ratio("json-c64", "cpu_us")
        ),
        Budget("CPU per chunk, 500 streams", 1.8, 1.3, "x nginx", lambda r: r.ratio("stream-500", "cpu_us")),
        Budget("added time to first chunk, one stream", 1.0, 0.4, "ms", _added_to_first_chunk),
        Budget(
            "p99 of a chunk's way, 500 streams",
            3,
            1.5,
            "x nginx",
            lambda r: r.ratio("stream-500", "transit_p99_ms"),
        ),
        Budget(
            "p99 to the first chunk, 500 streams within 0.4 s",
            5,
            2.5,
            "x nginx",
            lambda r: r.ratio("start-500", "p99_ms"),
        ),
        Budget("memory of a worker at rest", 90, 60, "MB", _worker_at_rest),
        Budget(
            "memory of an open idle stream",
            48,
            24,
            "KiB",
            lambda r: r.median(GATEWAY, "idle-2000", "stream_kib"),
        ),
        Budget("start to ready, store included", 2, 1, "s", Results.ready_s),
        Budget("CPU per request, two workers", 1.15, 1.05, "x one worker", _two_workers),
    ]


def _added_to_first_chunk(results: Results) -> float | None:
    through, direct = (results.median(who, "stream-1", "p50_ms") for who in (GATEWAY, "direct"))
    return None if through is None or direct is None else through - direct


def _worker_at_rest(results: Results) -> float | None:
    kib = results.rest_kib().get("worker")
    return kib and kib * 1024 / 1e6


def _two_workers(results: Results) -> float | None:
    return results.ratio("json-c64", "cpu_us", who=f"{GATEWAY}-2w", to=GATEWAY)


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Render a Markdown table with aligned columns: texts to the left, figures to the right."""
    lines = [head, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    is_figure = [all(line[n][:1] in "-0123456789" for line in lines[1:] if line[n]) for n in range(len(head))]
    rule = [
        "-" * (width - 1) + (":" if figure else "-") for width, figure in zip(widths, is_figure, strict=True)
    ]

    def line_of(cells: list[str]) -> str:
        each = zip(cells, widths, is_figure, strict=True)
        return "| " + " | ".join(f"{c:>{w}}" if figure else f"{c:<{w}}" for c, w, figure in each) + " |"

    return "\n".join(line_of(line) for line in [head, rule, *lines[1:]])


COLUMNS = [  # heading, field of Row, digits after the point
    ("per s", "per_s", 0),
    ("CPU us", "cpu_us", 1),
    ("store us", "store_us", 1),
    ("CPU %", "cpu_percent", 0),
    ("p50 ms", "p50_ms", 2),
    ("p99 ms", "p99_ms", 2),
    ("way p50", "transit_p50_ms", 2),
    ("way p99", "transit_p99_ms", 2),
]


def rows_table(results: Results) -> str:
    """Render one line for each test and contender: medians of the rounds."""
    lines = []
    for test in dict.fromkeys(row.test for row in results.rows):
        of_test = [row for row in results.rows if row.test == test]
        for who in dict.fromkeys(row.who for row in of_test):
            ratio = results.ratio(test, "cpu_us", who=who) if who not in ("direct", "nginx") else None
            cells = [_figure(results.median(who, test, field), digits) for _, field, digits in COLUMNS]
            errors = results.errors(who, test)
            lines.append([test, who, of_test[0].unit, _figure(ratio, 2), *cells, str(errors)])
    return table(["test", "who", "unit", "CPU x nginx", *(head for head, _, _ in COLUMNS), "errors"], lines)


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def durability_table(results: Results, fsync_ms: float) -> str | None:
    """Render what an fsync before each settlement costs; None where the two were not measured in one run."""
    lines = []
    for test in dict.fromkeys(row.test for row in results.rows if row.who == ALWAYS):
        for who, name in ((GATEWAY, "everysec"), (ALWAYS, "always")):
            figures = [
                _figure(results.median(who, test, field), digits)
                for _, field, digits in COLUMNS
                if field in ("cpu_us", "store_us", "p50_ms", "p99_ms", "per_s")
            ]
            if not any(figures):
                return None
            lines.append([test, name, *figures])
    if not lines:
        return None
    head = table(["test", "durability", "per s", "CPU us", "store us", "p50 ms", "p99 ms"], lines)
    return f"{head}\nAn fsync of this disk alone: {fsync_ms:.3f} ms, the median of 200."


def memory_table(results: Results) -> str:
    """Render the memory at rest of each kind of process, in MB."""
    lines = [
        [who, kind, f"{kib * 1024 / 1e6:.1f}"]
        for who in dict.fromkeys(start.who for start in results.starts)
        for kind, kib in results.rest_kib(who).items()
    ]
    return table(["who", "process", "RSS MB"], lines)


def budget_table(results: Results, *, tls: bool) -> tuple[str, bool]:
    """Render the budgets that this run measured; False beside it if one is exceeded."""
    lines, is_kept = [], True
    for budget in budgets(tls=tls):
        value = budget.value(results)
        if value is None:
            continue
        verdict = "aim met" if value <= budget.aim else "kept" if value <= budget.must else "EXCEEDED"
        is_kept = is_kept and value <= budget.must
        lines.append(
            [budget.measure, f"{value:.2f}", f"{budget.must:g}", f"{budget.aim:g}", budget.unit, verdict]
        )
    if not lines:
        return "no budget was measured", True
    return table(["budget", "measured", "must", "aim", "unit", "verdict"], lines), is_kept
