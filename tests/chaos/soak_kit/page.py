"""The part of docs/operations.md that a run writes."""

from __future__ import annotations

from tests.chaos.soak_kit.verdict import Verdict

BEGIN = "<!-- written by `python3 dev.py chaos soak --write` -->"
END = "<!-- end of what is written -->"


def part(verdict: Verdict) -> str:
    """The figures as a table, and the picture."""
    calls = sum(verdict.calls.values())
    whole = verdict.calls.get("whole", 0)
    grown = ", ".join(f"{name} {mib:+.2f}" for name, mib in verdict.growth_mib.items())
    files = ", ".join(f"{name} {a} → {b}" for name, (a, b) in verdict.files.items())
    rows = (
        ("the run", f"{verdict.minutes:g} minutes, {calls:,} calls"),
        ("load", f"{verdict.rate_per_s:.0f} calls a second, of {verdict.peak_per_s:.0f} at best"),
        ("faults", f"{sum(verdict.faults.values()):,}, of {len(verdict.faults)} kinds"),
        ("calls that were served to their end", f"{whole:,}"),
        ("clients that left on purpose", f"{verdict.calls.get('left', 0):,}"),
        ("calls that ended by an error", f"{calls - whole - verdict.calls.get('left', 0):,}"),
        (f"growth over the last {verdict.window_minutes:g} minutes, MiB", grown),
        ("open files before and after", files),
        ("open reservations, journals left", f"{verdict.open_reservations}, {verdict.journals_left}"),
        ("`tunegate ledger audit`", verdict.audit),
    )
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    return (
        f"{BEGIN}\n\n| | |\n|---|---|\n{table}\n\n"
        f"![Memory of the gateway's processes over the run](pictures/soak.svg)\n\n{END}"
    )


def with_part(page: str, text: str) -> str:
    """The page with the part in its place.

    Raises:
        ValueError: the page has no place for it.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for what is written")
    return before + text + after
