"""The timelines of docs/limits.md are what the bucket does."""

from __future__ import annotations

import re

from gateway.limits.bucket import UNIT, Bucket, fits, settled, wait_ms, window
from gateway.limits.headers import go_duration
from tests.unit.docs.pages import BY_NAME

PAGE = BY_NAME["docs/limits.md"]


def replay(heading: str, limit: int) -> None:
    bucket = Bucket(0, 0, limit)
    for row in PAGE.table(heading):
        now = int(row[heading]) * 1000
        level = bucket.level_at(now, limit)
        before, _, after = row["used"].partition(" → ")
        assert level == round(float(before) * UNIT), row
        settlement = re.match(r"settled at (\d+), not (\d+)", row.get("what happens", ""))
        if settlement is not None:
            level = settled(level, int(settlement[1]) - int(settlement[2]))
        else:
            cost = int((re.findall(r"call of (\d+)", row.get("what happens", "")) or [1])[0])
            is_admitted = fits(level, cost, limit)
            assert row["answer"] == ("200" if is_admitted else "429"), row
            wait = wait_ms(level, cost, limit)
            level += cost * UNIT if is_admitted else 0
            told = window(level, limit)
            assert (row["`remaining`"], row["`reset`"]) == (str(told.remaining), go_duration(told.reset_ms))
            assert row["`retry-after-ms`"] == ("" if is_admitted else str(wait)), row
        assert level == round(float(after or before) * UNIT), row
        bucket = Bucket(level, now, limit)


def test_requests() -> None:
    replay("RPM 6: second", 6)


def test_tokens() -> None:
    replay("TPM 1000: second", 1000)


def test_money() -> None:
    """Columns of held, spent and left add up to the budget of one dollar."""
    for row in PAGE.table("what happens"):
        if row["left, USD"]:
            figures = (float(row[name]) for name in ("held, USD", "spent, USD", "left, USD"))
            assert abs(sum(figures) - 1) < 1e-9, row


def test_limits_that_change() -> None:
    """The table of what stays used, and of how soon a call fits."""
    rows = PAGE.table("limit")
    assert len(rows) == 5
    for row in rows:
        before, after = (int(number) for number in re.findall(r"\d+", row["limit"]))
        used = int(re.findall(r"\d+", row["used before"])[0])
        level = Bucket(used * UNIT, 0, before).level_at(0, after)
        assert level == int(re.findall(r"\d+", row["used after"])[0]) * UNIT, row
        assert window(level, after).remaining == int(row["left after"]), row
        told = re.search(r"fits after (\d+) s", row["used after"])
        assert told is None or wait_ms(level, 1, after) == int(told[1]) * 1000, row
