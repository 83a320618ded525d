"""A row as the benchmark measures them, for tests of what is made of rows."""

from types import ModuleType
from typing import Any


def plain_row(report: ModuleType, **fields: Any) -> Any:
    """A row of one request that cost nothing; `fields` are those that matter."""
    nothing = {
        "who": "",
        "test": "",
        "round": 0,
        "unit": "request",
        "errors": 0,
        "reason": "",
        "per_s": 1000.0,
        "cpu_us": 0.0,
        "store_us": 0.0,
        "cpu_percent": 50.0,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "transit_p50_ms": None,
        "transit_p99_ms": None,
    }
    return report.Row(**nothing | fields)
