"""The arithmetic of the benchmark at size; what is measured is checked by running it."""

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from gateway.auth.virtual_key import is_key_id, shard_of

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("scale")


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("ledger")


@pytest.mark.parametrize(
    ("files", "ports", "most", "because"),
    [(20_000, 28_000, 9_900, "open files"), (1_048_576, 28_000, 28_000, "local ports")],
)
def test_what_bounds_the_streams_is_named(scale: ModuleType, files: int, ports: int, most: int, because: str):
    found, words = scale.most_streams(files, ports)
    assert found == most
    assert because in words


def test_quantiles_are_of_the_ordered_values(scale: ModuleType):
    assert scale.quantiles([*range(100, 0, -1)]) == (51, 100, 100)
    assert scale.quantiles([*range(1000)]) == (500, 990, 999)


def test_every_key_asks_and_aliases_are_asked_alike(scale: ModuleType):
    texts, aliases = [f"key-{n}" for n in range(2000)], [f"alias-{n}" for n in range(200)]
    found = scale.pairs(texts, aliases)
    assert sorted(key for key, _ in found) == sorted(texts)
    assert Counter(alias for _, alias in found) == dict.fromkeys(aliases, 10)
    assert found != sorted(found)


def test_the_ratio_has_the_store_in_it(scale: ModuleType):
    medians = {"one": {"cpu_us": 150.0, "store_us": 50.0}, "many": {"cpu_us": 160.0, "store_us": 60.0}}
    assert scale.ratio(medians) == 1.1


def test_a_table_has_a_line_for_each_measure(scale: ModuleType):
    measured = {what: 10.0 for _, what, _ in scale.KEY_COLUMNS}
    text = scale.keys_table({"one": measured, "many": measured | {"cpu_us": 12.0}}, 2000, 200)
    line = next(line for line in text.splitlines() if "CPU of the gateway" in line)
    assert [cell.strip() for cell in line.split("|")][2:5] == ["10.0", "12.0", "1.200"]
    assert len(text.splitlines()) == 2 + len(scale.KEY_COLUMNS)


def test_callers_are_keys_in_the_shard_of_their_team(ledger: ModuleType):
    those = ledger.callers(400, 20)
    assert len({caller.key for caller in those}) == 400
    assert all(is_key_id(caller.key) and caller.key[:2] == shard_of(caller.team) for caller in those)
    assert ledger.callers(400, 20) == those


def test_calls_fill_their_time_in_order(ledger: ModuleType):
    those, start, end = ledger.callers(50, 5), 1_760_000_000, 1_760_864_000
    calls = list(ledger.settlements(those, 2000, start, end))
    times = [settlement.admitted_ms for settlement, _ in calls]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (1000 * start, 1000 * end - 432_000)
    assert all(settled == settlement.admitted_ms + 900 for settlement, settled in calls)
    assert len({settlement.request_id for settlement, _ in calls}) == 2000
    by_key = Counter(settlement.key_id for settlement, _ in calls)
    assert by_key[those[0].key] > 3 * by_key[those[9].key] > 0
