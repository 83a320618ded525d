"""Waiting for a fact, with a deadline."""

import asyncio
import time
from collections.abc import Callable

STEP_S = 0.005


async def until(is_so: Callable[[], object], what: str = "the fact", *, within_s: float = 5.0) -> None:
    """Return as soon as `is_so()` is true; fail the test where it is not within `within_s`."""
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come within {within_s} s"
        await asyncio.sleep(STEP_S)
