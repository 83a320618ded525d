"""Admissions and settlements, with what a test does not care about filled in."""

from typing import Any

from gateway.limits.values import Admission, Bounds, Counters, Dimensions, Settlement

KEY = "07abcdefghij"
SHARD = KEY[:2]
NOON = 1_795_435_200_000  # 2026-11-23 12:00 UTC


def admission(request_id: str = "r1", **given: Any) -> Admission:
    defaults: dict[str, Any] = {
        "request_id": request_id,
        "key_id": KEY,
        "revision": 1,
        "process": "p1",
        "bounds": Bounds(),
        "tokens": 10,
    }
    return Admission(**defaults | given)


def settlement(request_id: str = "r1", *, cost: int = 0, **given: Any) -> Settlement:
    defaults: dict[str, Any] = {
        "request_id": request_id,
        "key_id": KEY,
        "state": "exact",
        "record": b'{"request_id":"%s"}' % request_id.encode(),
        "admitted_ms": NOON,
        "counters": Counters(prompt_tokens=3, completion_tokens=4, cost_nanousd=cost),
        "dimensions": Dimensions(KEY, "support", "gpt-4.1-mini", "openai", "", "care"),
        "tokens_actual": 7,
    }
    return Settlement(**defaults | given)
