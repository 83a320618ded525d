import csv
import io
import json
import sys
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq
import pytest

from gateway.control.usage_export import COLUMNS, Encoder, encoded, encoder_of, format_of
from gateway.domain.errors import InvalidRequest

ATTEMPT = {
    "upstream": "a",
    "model": "ft:gpt-4o:acme::x",
    "outcome": "committed",
    "state": "exact",
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "cost_nanousd": 7,
}


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "object": "usage.event",
        "id": f"07-{number}-0",
        "request_id": f"req_{number}",
        "ts": 1_767_268_800.125 + number,
        "key": "07abcdefghij",
        "team": 'a "team", with\nlines',
        "route": "chat.completions",
        "state": "exact",
        "stream": True,
        "attempts": [ATTEMPT],
        "prompt_tokens": 5,
        "cost_nanousd": 1_500_000_001,
        "cost_usd": "1.500000001",
        "saved_nanousd": 0,
        "saved_usd": "0",
        "ttft_ms": 1.25,
        "a_field_of_a_later_version": [1],
        **fields,
    }


UNPRICED = row(2, cost_nanousd=None, cost_usd=None, attempts=[], team=None, alias="é")
ROWS = [row(1), UNPRICED]


async def file_of(encoder: Encoder, *batches: Sequence[dict[str, Any]]) -> bytes:
    async def given() -> AsyncIterator[Sequence[dict[str, Any]]]:
        for batch in batches:
            yield batch

    return b"".join([piece async for piece in encoded(encoder, given())])


async def test_json_lines_hold_whole_records() -> None:
    lines = (await file_of(encoder_of("jsonl"), ROWS[:1], [], ROWS[1:])).splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    assert await file_of(encoder_of("jsonl")) == b""


async def test_csv_has_a_column_a_field_and_leaves_empty_what_is_unknown() -> None:
    text = (await file_of(encoder_of("csv"), ROWS[:1], ROWS[1:])).decode()
    known, unpriced = csv.DictReader(io.StringIO(text, newline=""))
    assert tuple(known) == COLUMNS
    assert (known["team"], known["stream"], known["cost_nanousd"]) == (
        'a "team", with\nlines',
        "true",
        "1500000001",
    )
    assert json.loads(known["attempts"]) == [ATTEMPT]
    assert (unpriced["cost_nanousd"], unpriced["cost_usd"], unpriced["team"], unpriced["alias"]) == (
        *("", "", "", "é"),
    )
    assert unpriced["saved_nanousd"] == "0"


async def test_csv_without_rows_still_names_its_columns() -> None:
    assert (await file_of(encoder_of("csv"))).decode().strip().split(",") == list(COLUMNS)


async def test_parquet_is_typed() -> None:
    table = pq.read_table(io.BytesIO(await file_of(encoder_of("parquet"), ROWS[:1], ROWS[1:])))
    assert tuple(table.column_names) == COLUMNS
    assert str(table.schema.field("ts").type) == "timestamp[ms, tz=UTC]"
    known, unpriced = table.to_pylist()
    assert known["ts"].isoformat() == "2026-01-01T12:00:01.125000+00:00"
    assert (known["attempts"], known["stream"], known["ttft_ms"]) == ([ATTEMPT], True, 1.25)
    assert (known["cost_usd"], known["saved_usd"]) == (Decimal("1.500000001"), Decimal(0))
    assert (unpriced["cost_nanousd"], unpriced["cost_usd"], unpriced["attempts"]) == (None, None, [])


async def test_parquet_without_rows_is_a_table_without_rows() -> None:
    table = pq.read_table(io.BytesIO(await file_of(encoder_of("parquet"))))
    assert (table.num_rows, tuple(table.column_names)) == (0, COLUMNS)


async def test_parquet_is_written_in_row_groups_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.control.usage_export._ROW_GROUP", 4)
    encoder = encoder_of("parquet")
    sizes = [len(encoder.encode([row(number), row(number + 1)])) for number in range(0, 12, 2)]
    assert [size > 500 for size in sizes] == [False, True, False, True, False, True]
    whole = pq.ParquetFile(io.BytesIO(await file_of(encoder_of("parquet"), *([row(n)] for n in range(9)))))
    assert [whole.metadata.row_group(n).num_rows for n in range(whole.num_row_groups)] == [4, 4, 1]


def test_without_pyarrow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidRequest, match=r"pip install 'tunegate\[parquet\]'") as refused:
        encoder_of("parquet")
    assert refused.value.param == "format"


def test_formats() -> None:
    assert (format_of(None), format_of(""), format_of("csv")) == ("jsonl", "jsonl", "csv")
    with pytest.raises(InvalidRequest, match="xlsx") as refused:
        format_of("xlsx")
    assert refused.value.param == "format"
