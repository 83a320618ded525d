"""The matrix as a table: on a terminal, as JSON, and as docs/faults.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.chaos.matrix_kit.case import Case
from tests.chaos.matrix_kit.play import Result

_HEAD = """# The fault matrix

<!-- Written by `python3 dev.py chaos matrix --write` from the cases in `tests/chaos/matrix_cases`. -->

What clients, metrics and the ledger see of each fault that we know how to cause. `python3 dev.py chaos
matrix` plays every row against a gateway's real processes, over real sockets: an upstream that follows a
script, behind a proxy that can refuse, swallow, reset, stall, delay, cut and drip; a real store, stopped,
killed or spoiled in the same way. A row fails where any of its columns is not as it says, or where the time
in its last column is not kept. The quickest of these cases are also part of `python3 dev.py test`.

Besides what stands below, every row asserts: the answer is whole by its framing; errors have the official
shape with all four keys; each call is counted in `tunegate_requests_total` by the status and code that its
client saw; each admitted call has exactly one ledger record; nothing stays reserved.

Timeouts of the upstreams in these runs are short (`connect_s` 0.5, `first_token_s` 1, `idle_s` 1), so
that the bounds show what the gateway adds to them. The bounds leave room for a machine that is busy with
other work; "took" is what a run with nothing else on two cores measured.

"""
_MEASURED = re.compile(r"\| [^|]* \| (≤ [^|]*) \|$", re.MULTILINE)


def page(families: Mapping[str, Sequence[Case]], took: Mapping[str, float]) -> str:
    """The text of docs/faults.md; `took` are measured seconds by the case's name."""
    parts = [_HEAD]
    for family, cases in families.items():
        parts.append(f"## {family}\n\n")
        parts.append("| case | given | the client sees | metrics | ledger | took | within |\n")
        parts.append("|---|---|---|---|---|---|---|\n")
        for case in cases:
            metrics = "<br>".join(map(str, case.metrics)) or "as the client saw it"
            measured = f"{took[case.name]:.3f} s" if case.name in took else ""
            parts.append(
                f"| {case.name} | {case.given} | {case.client} | {metrics} | {case.ledger} | {measured} "
                f"| ≤ {case.within_s:g} s |\n"
            )
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def without_measurements(text: str) -> str:
    """What must not change from run to run."""
    return _MEASURED.sub(r"| | \1 |", text)


def measured_in(text: str) -> dict[str, float]:
    """The seconds that a page states, by case."""
    rows = re.findall(r"^\| ([^|]+?) \|.*\| ([0-9.]+) s \| ≤ [^|]* \|$", text, re.MULTILINE)
    return {name: float(seconds) for name, seconds in rows}


def row(result: Result) -> str:
    """For a terminal."""
    case = result.case
    verdict = "ok  " if result.holds else "FAIL"
    line = f"{verdict} {case.name:34} {result.saw[:44]:44} {result.ledger[:24]:24}"
    line += f" {result.took_s:6.2f} s <= {case.within_s:g} s  {'; '.join(result.counted)}"
    return line + "".join(f"\n     {failure}" for failure in result.failures)


def as_json(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "name": case.name,
        "holds": result.holds,
        "client": result.saw,
        "expected_client": str(case.client),
        "metrics": result.counted,
        "ledger": result.ledger,
        "expected_ledger": str(case.ledger),
        "took_s": round(result.took_s, 3),
        "within_s": case.within_s,
        "failures": result.failures,
    }
