"""What a run beside other gateways says: a table and a picture, always the same for the same rows."""

import json
import math
import sys
from pathlib import Path

import report
from report import Results

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.drawing import Drawing

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- written by `python3 dev.py bench --publish docs/pictures/peers.json` -->"
END = "<!-- end of what is written -->"
BUSY = 1.5
"""The load before a run from which on its figures are not those of a quiet machine."""

TITLES = {"nginx": "nginx", "tunegate": "Tunegate", "portkey": "Portkey", "litellm": "LiteLLM"}
REQUEST, CHUNK = "json-c64", "stream-50"
PANELS = {REQUEST: "A JSON request, 64 in flight", CHUNK: "A chunk of a stream, 50 at once"}

WIDTH, LEFT, RIGHT, TOP = 860, 150, 220, 60
BAR, GAP, PANEL_GAP = 20, 8, 56
COLOURS = {"nginx": "#555555", "tunegate": "#1b6ca8"}
PEER_COLOUR = "#c8553d"


def named(who: str, versions: dict[str, str]) -> str:
    """Return the name of a contender, with its version where it is one of the others."""
    return " ".join(filter(None, [TITLES.get(who, who), versions.get(who)]))


def contenders_of(results: Results) -> list[str]:
    """Return who was measured, in the order of `TITLES`."""
    measured = {row.who for row in results.rows}
    return [who for who in TITLES if who in measured]


# --- the table -------------------------------------------------------------------------------------------


def table(results: Results, versions: dict[str, str]) -> str:
    """Render one line a contender. CPU is that of all its processes, its store's included."""
    head = ["proxy", "µs a request", "x nginx", "µs a chunk", "x nginx", "requests a second"]
    head += ["first chunk, ms", "RSS, MB", "failed"]
    lines = []
    for who in contenders_of(results):
        per_s = results.median(who, REQUEST, "per_s")
        first = results.median(who, CHUNK, "p50_ms")
        memory = sum(kib for kind, kib in results.rest_kib(who).items() if kind != "store") * 1024 / 1e6
        lines.append(
            [
                named(who, versions),
                *_cost(results, who, REQUEST),
                *_cost(results, who, CHUNK),
                "" if per_s is None else f"{per_s:.0f}",
                "" if first is None else f"{first:.1f}",
                f"{memory:.0f}",
                str(results.errors(who)),
            ]
        )
    return report.table(head, lines)


def _cost(results: Results, who: str, test: str) -> tuple[str, str]:
    cost, least = results.whole_cpu_us(who, test), results.whole_cpu_us("nginx", test)
    if cost is None:
        return "", ""
    return f"{cost:.0f}", f"{cost / least:.1f}" if least else ""


# --- the picture -----------------------------------------------------------------------------------------


def picture(results: Results, versions: dict[str, str]) -> str:
    """Draw what a request and a chunk cost, one bar a contender, on one logarithmic scale, as SVG."""
    who_all = contenders_of(results)
    costs = {(who, test): results.whole_cpu_us(who, test) for who in who_all for test in PANELS}
    decades = math.log10(max(10.0, *filter(None, costs.values())))  # from one microsecond on
    wide = WIDTH - LEFT - RIGHT
    panel = len(who_all) * (BAR + GAP) + PANEL_GAP

    def x(cost: float) -> float:
        return LEFT + math.log10(max(cost, 1)) / decades * wide

    drawing = Drawing(
        WIDTH, TOP + len(PANELS) * panel, "CPU time by proxy, in microseconds, logarithmic", left=14
    )
    for index, (test, title) in enumerate(PANELS.items()):
        top = TOP + index * panel
        bottom = top + len(who_all) * (BAR + GAP)
        drawing.text(14, top - 8, title, font_weight="bold")
        for power in range(int(decades) + 1):
            at = x(10.0**power)
            drawing.add("line", x1=at, x2=at, y1=top, y2=bottom, stroke="#ddd")
            drawing.text(at, bottom + 14, f"{10**power:,}", text_anchor="middle", fill="#555")
        for row, who in enumerate(who_all):
            cost = costs[who, test]
            y = top + row * (BAR + GAP) + GAP // 2
            drawing.text(LEFT - 8, y + 14, named(who, versions), text_anchor="end")
            if not cost:
                drawing.text(LEFT + 6, y + 14, "not measured")
                continue
            colour = COLOURS.get(who, PEER_COLOUR)
            drawing.add("rect", x=LEFT, y=y, width=x(cost) - LEFT, height=BAR, fill=colour)
            drawing.text(x(cost) + 6, y + 14, _label(results, who, test, cost))
    return drawing.svg()


def _label(results: Results, who: str, test: str, cost: float) -> str:
    least = results.whole_cpu_us("nginx", test)
    label = f"{cost:,.0f}"
    if least and who != "nginx":
        label += f" ({cost / least:,.1f} x nginx)"
    failed = results.errors(who, test)
    return f"{label}, {failed} failed" if failed else label


# --- the page --------------------------------------------------------------------------------------------


def part(document: dict) -> str:
    """Return the part of docs/performance.md that the rows of a run make."""
    results, machine, settings = Results.from_json(document), document["machine"], document["settings"]
    of_rounds = "one round" if settings["rounds"] == 1 else f"medians of {settings['rounds']} rounds"
    is_busy = machine["load"] > BUSY
    busy = f"The machine had other work (load {machine['load']:.1f}): only ratios tell." if is_busy else ""
    return "\n\n".join(
        [
            BEGIN,
            f"{machine['cores']} shared CPUs, {of_rounds}, {settings['day']}. {busy}".strip(),
            table(results, settings["versions"]),
            "![CPU time of a request and of a chunk, by proxy](pictures/peers.svg)",
            END,
        ]
    )


def with_part(page: str, text: str) -> str:
    """Return the page with the part in its place; `ValueError` where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for what is written")
    return before + text + after


def publish(rows: Path) -> None:
    """Draw the rows that a run with `--peers --json` wrote beside them, and put their table into the page."""
    document = json.loads(rows.read_text())
    if "versions" not in document["settings"]:
        sys.exit(f"{rows} is not of a run with --peers")
    svg = picture(Results.from_json(document), document["settings"]["versions"])
    rows.with_suffix(".svg").write_text(svg, encoding="utf-8")
    PAGE.write_text(with_part(PAGE.read_text(encoding="utf-8"), part(document)), encoding="utf-8")
