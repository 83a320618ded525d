from collections.abc import Sequence

from gateway.control.usage_rows import (
    UsageSums,
    buckets_of,
    counter_name,
    iso_of,
    name_of,
    seconds_of,
    shown_figures,
    start_of,
)
from gateway.limits.values import METRICS
from gateway.store.usage import Bucket

NOON = 1_767_268_800  # 2026-01-01T12:00:00Z


def counter(metric: str, figure: int, **dims: str) -> tuple[bytes, bytes]:
    names = ("key", "alias", "model", "upstream", "release", "team")
    return counter_name([dims.get(name, "") for name in names], metric), str(figure).encode()


def figures(**named: int) -> list[int]:
    return [named.get(metric, 0) for metric in METRICS]


def sums(groups: Sequence[str], **only: frozenset[str]) -> UsageSums:
    added = UsageSums(groups, only)
    added.add(
        dict(
            [
                counter("requests", 2, key="07a", model="m", team="x"),
                counter("cost_nanousd", 5, key="07a", model="m", team="x"),
                counter("requests", 3, key="07a", model="n"),
                counter("requests", 4, key="08b", model="m"),
                counter("a_figure_of_a_later_version", 9, key="07a"),
            ]
        ),
        ("then",),
    )
    return added


def test_counters_add_up_by_group() -> None:
    assert sums([]).sums == {("then",): figures(requests=9, cost_nanousd=5)}
    assert sums(["model"]).sums == {
        ("then", "m"): figures(requests=6, cost_nanousd=5),
        ("then", "n"): figures(requests=3),
    }
    assert set(sums(["team", "key"]).sums) == {
        ("then", "x", "07a"),
        ("then", "", "07a"),
        ("then", "", "08b"),
    }


def test_only_what_is_let_in_counts() -> None:
    assert sums([], key=frozenset({"07a"}), model=frozenset({"m", "x"})).sums == {
        ("then",): figures(requests=2, cost_nanousd=5)
    }
    assert sums([], team=frozenset({"nobody"})).sums == {}


def test_what_has_no_price_costs_null_and_never_zero() -> None:
    nothing = shown_figures(figures(requests=2, unpriced_requests=2))
    assert (nothing["cost_nanousd"], nothing["cost_usd"]) == (None, None)
    some = shown_figures(figures(requests=2, unpriced_requests=1, cost_nanousd=1_500_000_000))
    assert (some["cost_nanousd"], some["cost_usd"]) == (1_500_000_000, "1.5")
    free = shown_figures(figures(requests=2, unpriced_requests=1))
    assert (free["cost_nanousd"], free["cost_usd"]) == (0, "0")
    none = shown_figures(figures())
    assert (none["cost_nanousd"], none["saved_nanousd"], none["saved_usd"]) == (0, 0, "0")


def test_buckets_are_named_by_their_utc_time() -> None:
    assert (name_of("day", NOON), name_of("hour", NOON)) == ("20260101", "2026010112")
    bucket = Bucket("07", "hour", "2026010112")
    assert bucket.store_key == "{s07}:use:h:2026010112"
    assert (iso_of("day", bucket), iso_of("hour", bucket)) == ("2026-01-01", "2026-01-01T12:00:00Z")
    assert start_of(bucket) == seconds_of("2026-01-01T12:00:00Z") == NOON
    assert [each.name for each in buckets_of("hour", NOON, NOON + 7200, ["07"])] == [
        "2026010112",
        "2026010113",
    ]
    days = list(buckets_of("day", NOON - 43200, NOON + 43200, ["07", "08"]))
    assert [(each.shard, each.name) for each in days] == [("07", "20260101"), ("08", "20260101")]
