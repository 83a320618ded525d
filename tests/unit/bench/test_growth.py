"""The arithmetic behind docs/scaling.md, and that the page says what it gives."""

from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import pytest

from gateway.auth.virtual_key import SHARDS, shard_of
from gateway.store import keys
from gateway.store.slots import slot_of

ROOT = Path(__file__).parents[3]


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "bench")
    import growth  # noqa: PLC0415 - found through the path above

    return growth


@pytest.fixture
def facts(growth: ModuleType):
    """Round figures: a request is 200 us and 50 of the store, a chunk 20."""
    rest = {field.name: 1000.0 for field in fields(growth.Facts)}
    return growth.Facts(
        **rest | {"request_us": 200.0, "request_store_us": 50.0, "chunk_us": 20.0, "worker_mb": 70.0}
    )


def need(growth: ModuleType, facts, part: str, **load: float):
    found = growth.needs(facts, growth.Load(**load), growth.Machines(full=0.5))
    assert [each.one_holds for each in found] == sorted(each.one_holds for each in found)
    return next(each for each in found if each.part == part)


def test_workers_are_what_chunks_and_requests_take(growth: ModuleType, facts):
    load = {"streams": 1000, "requests_per_s": 5000, "chunks_per_s": 50.0}  # one core each
    workers = need(growth, facts, "CPU of workers", **load)
    assert (workers.needed, workers.one_holds) == (4, 1250.0)


def test_a_primary_holds_what_half_a_thread_holds(growth: ModuleType, facts):
    store = need(growth, facts, "CPU of the store", requests_per_s=20_000)
    assert (store.needed, store.one_holds) == (2, 10_000.0)


def test_a_day_of_records_is_that_of_its_mean_load(growth: ModuleType, facts):
    records = need(
        growth, facts, "records and marks, kept one day", requests_per_s=1000, mean_of_peak=0.25
    )  # 250 x 86,400 x 2,000 bytes = 43.2 GB in primaries of 32
    assert records.needed == 2


def test_slots_are_those_that_the_gateway_asks(growth: ModuleType):
    for shard in ("00", "07", "63"):
        slot = slot_of(("XADD", keys.ledger(shard)))
        assert slot is not None
        for primaries in growth.PRIMARIES:
            assert growth.by_ranges(primaries)[int(shard)] == slot * primaries // growth.SLOTS


def test_a_team_is_borne_by_its_shard(growth: ModuleType):
    loads = growth.shard_loads([1.0], 0)
    assert [shard for shard, load in enumerate(loads) if load] == [int(shard_of(f"team {growth.SEED}-0-0"))]


def test_shares_sum_up_and_fall(growth: ModuleType):
    shares = growth.zipf(1000)
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(10 * shares[9])


def test_the_busiest_is_a_multiple_of_an_even_share(growth: ModuleType):
    even = [1 / SHARDS] * SHARDS
    assert growth.busiest(even, growth.by_count(16), 16) == pytest.approx(1)
    assert growth.busiest([1.0, *[0.0] * (SHARDS - 1)], growth.by_count(16), 16) == 16


@pytest.mark.parametrize("primaries", [3, 6, 16])
def test_placing_by_load_is_no_worse(growth: ModuleType, primaries: int):
    shares = growth.zipf(500)
    for draw in range(3):
        loads = growth.shard_loads(shares, draw)
        placed = growth.busiest(loads, growth.by_load(loads, primaries), primaries)
        assert placed <= growth.busiest(loads, growth.by_count(primaries), primaries)
        assert placed >= max(1.0, max(loads) * primaries) - 1e-9


def test_more_parts_of_a_tenant_burden_no_primary_more_than_all_of_it(growth: ModuleType):
    whole, parts = (growth._with_tenant(0.5, parts, 0, 16) for parts in (1, 16))
    assert parts < 0.5 <= whole


PAGE = """
| measure | figure |
| --- | --- |
| memory of an open stream | 1,234.5 KiB, of 9 |

| other | tunegate |
| --- | --- |
| memory of an open stream | 7 |
"""


def test_figures_are_read_by_row_and_column(growth: ModuleType):
    def read(*source: object) -> float:
        return growth._figure({"scaling": PAGE}, "scaling", *source)

    assert read("memory of an open", "figure", 0) == 1234.5
    assert read("memory of an open", "figure", 1) == 9
    assert read("memory of an open", "tunegate", 0) == 7
    for source in (("memory of a closed", "figure", 0), ("memory of an open", "figure", 2)):
        with pytest.raises(ValueError, match=r"docs/scaling\.md: no number"):
            read(*source)


def test_the_page_has_the_tables_that_its_figures_give(growth: ModuleType):
    text = (ROOT / "docs/scaling.md").read_text("utf-8")
    for name, block in growth.blocks().items():
        begin, end = text.index(f"<!-- {name}:"), text.index(f"<!-- {name} ends -->")
        assert text[text.index("-->", begin) + 3 : end].strip() == block, f"{name}: python3 dev.py docs"


def test_a_load_of_half_the_chunks_needs_half_the_cores_for_them(growth: ModuleType, facts):
    full = growth.Load(requests_per_s=1)
    cores = [
        growth.needs(facts, load, growth.Machines())[0].takes.split()[0]
        for load in (full, replace(full, chunks_per_s=full.chunks_per_s / 2))
    ]
    assert cores == ["40", "20"]
