"""The ledger as a file, made while it is sent: CSV, JSON lines or Parquet, a batch of events at a time."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, Protocol

import msgspec

from gateway.control.usage_query import one_of
from gateway.domain.errors import InvalidRequest
from gateway.metering.record import LedgerRecord

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet")
CONTENT_TYPES: Mapping[Format, str] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}

Row = dict[str, Any]
"""An event as `shown_event` makes it."""

COLUMNS = ("object", "id", *LedgerRecord.__struct_fields__, "cost_usd", "saved_usd")
"""What every row has, in this order."""

_ROW_GROUP = 16384  # rows; as columns they take a few MB


class Encoder(Protocol):
    """Turns batches of rows into the bytes of a file."""

    def encode(self, rows: Sequence[Row]) -> bytes:
        """The bytes that these rows add."""

    def end(self) -> bytes:
        """The last bytes of the file."""


async def encoded(encoder: Encoder, batches: AsyncIterator[Sequence[Row]]) -> AsyncIterator[bytes]:
    """The file of all rows, piece by piece; no piece is empty.

    The work is done in a thread, so that whatever else this process does goes on.
    """
    async for rows in batches:
        if piece := await asyncio.to_thread(encoder.encode, rows):
            yield piece
    if piece := await asyncio.to_thread(encoder.end):
        yield piece


def format_of(text: str | None) -> Format:
    """The format of this name, JSON lines where there is none. Raises `InvalidRequest`."""
    one_of("format", [text] if text else [], FORMATS)
    return next((name for name in FORMATS if name == text), "jsonl")


def encoder_of(name: Format) -> Encoder:
    """A fresh encoder. Raises `InvalidRequest` where Parquet is asked for and pyarrow is not installed."""
    makers: Mapping[Format, Callable[[], Encoder]] = {
        "csv": CsvEncoder,
        "jsonl": JsonLinesEncoder,
        "parquet": ParquetEncoder,
    }
    return makers[name]()


class JsonLinesEncoder:
    """One JSON object a line, as `GET /admin/v1/usage/events` shows them."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()

    def encode(self, rows: Sequence[Row]) -> bytes:
        """The lines of these rows."""
        return self._encoder.encode_lines(rows)

    def end(self) -> bytes:
        """Nothing: the last line is a whole one."""
        return b""


class CsvEncoder:
    """RFC 4180, one column a field, the first line names them; unknown is empty, `attempts` is JSON."""

    def __init__(self) -> None:
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text)
        self._writer.writerow(COLUMNS)

    def encode(self, rows: Sequence[Row]) -> bytes:
        """The lines of these rows."""
        self._writer.writerows([_cell(row.get(column)) for column in COLUMNS] for row in rows)
        return self._drain()

    def end(self) -> bytes:
        """The heading, where there was no row."""
        return self._drain()

    def _drain(self) -> bytes:
        piece = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        return piece


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


class ParquetEncoder:
    """One column a field; `ts` is a timestamp, `attempts` a list of structs, US dollars are decimals.

    Raises `InvalidRequest` where pyarrow is not installed.
    """

    def __init__(self) -> None:
        try:
            # Only who asks for Parquet needs it: it takes 150 MB on disk and a good part of a second to load.
            import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415  # it has no types; see above
            from pyarrow import parquet  # noqa: PLC0415  # as above
        except ImportError as error:
            raise InvalidRequest(
                "Parquet needs pyarrow, which is not installed here: pip install 'tunegate[parquet]'.",
                "format",
            ) from error
        self._arrow = pa
        self._schema = _schema(pa)
        self._sink = _Sink()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._waiting: list[Any] = []
        self._rows_waiting = 0

    def encode(self, rows: Sequence[Row]) -> bytes:
        """The row group that these rows complete, or nothing."""
        typed = [{**row, "ts": round(row["ts"] * 1000), **_dollars(row)} for row in rows]
        self._waiting.append(self._arrow.RecordBatch.from_pylist(typed, schema=self._schema))
        self._rows_waiting += len(rows)
        if self._rows_waiting >= _ROW_GROUP:
            self._write_group()
        return self._sink.drain()

    def end(self) -> bytes:
        """The last row group, and the footer that says where everything is."""
        self._write_group()
        self._writer.close()
        return self._sink.drain()

    def _write_group(self) -> None:
        if self._waiting:
            self._writer.write_table(self._arrow.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._rows_waiting = [], 0


def _dollars(row: Row) -> dict[str, Decimal | None]:
    return {name: None if row[name] is None else Decimal(row[name]) for name in ("cost_usd", "saved_usd")}


class _Sink(io.RawIOBase):
    """A file that can only be written, and whose content is taken away as it grows."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._length += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._length

    def drain(self) -> bytes:
        pieces, self._pieces = b"".join(self._pieces), []
        return pieces


_NUMBERS = {
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost_nanousd",
    "saved_nanousd",
}


def _schema(pa: Any) -> Any:
    attempt = [
        *((name, pa.string()) for name in ("upstream", "model", "outcome", "state")),
        *((name, pa.int64()) for name in ("prompt_tokens", "completion_tokens", "cost_nanousd")),
    ]
    kinds = {
        "ts": pa.timestamp("ms", tz="UTC"),
        "stream": pa.bool_(),
        "attempts": pa.list_(pa.struct(attempt)),
        "ttft_ms": pa.float64(),
        "duration_ms": pa.float64(),
        **dict.fromkeys(_NUMBERS, pa.int64()),
        **dict.fromkeys(("cost_usd", "saved_usd"), pa.decimal128(20, 9)),
    }
    return pa.schema([(column, kinds.get(column, pa.string())) for column in COLUMNS])
