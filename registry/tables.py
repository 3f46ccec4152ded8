"""A table as CSV, JSON or Parquet, written as it is read; no cell that a spreadsheet would run."""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

Rows = Iterable[Sequence[Any]]
BATCH = 1_000
# What a column holds → its type in Parquet. Everything is nullable: None is "not measured".
TEXT, NUMBER, COUNT, FLAG, MOMENT, OBJECT = "text", "number", "count", "flag", "moment", "object"
Columns = Mapping[str, str]


def neutral(value: Any) -> Any:
    """Text that begins like a formula gets an apostrophe in front; numbers and the rest stay as they are."""
    dangerous = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r", "\n")
    return f"'{value}" if dangerous else value


def as_csv(columns: Columns, rows: Rows) -> Iterator[bytes]:
    """UTF-8 with a header; `None` is an empty cell."""
    yield _lines([[neutral(name) for name in columns]])
    for batch in _batches(rows):
        yield _lines([[neutral(_plain(value)) for value in row] for row in batch])


def as_json(columns: Columns, rows: Rows) -> Iterator[bytes]:
    """An array of objects."""
    names, opened = list(columns), "["
    for batch in _batches(rows):
        objects = (dict(zip(names, row, strict=True)) for row in batch)
        text = ",\n".join(json.dumps(one, default=_text, ensure_ascii=False, separators=(",", ":")) for one in objects)
        yield f"{opened}{text}".encode()
        opened = ",\n"
    yield (b"[]" if opened == "[" else b"]") + b"\n"


def as_parquet(columns: Columns, rows: Rows) -> Iterator[bytes]:
    """A Parquet file with typed, nullable columns; it lies in a temporary file until it is whole."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {
        TEXT: pa.string(),
        NUMBER: pa.float64(),
        COUNT: pa.int64(),
        FLAG: pa.bool_(),
        MOMENT: pa.timestamp("us", tz="UTC"),
        OBJECT: pa.string(),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    with tempfile.TemporaryFile() as file:
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in _batches(rows, 20 * BATCH):
                read = zip(*batch, strict=True)
                arrays = [[_cell(v, kind) for v in column] for column, kind in zip(read, columns.values(), strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
        file.seek(0)
        while chunk := file.read(1 << 16):
            yield chunk


Encoder = Callable[[Columns, Rows], Iterator[bytes]]
FORMATS: dict[str, tuple[str, Encoder]] = {
    "csv": ("text/csv; charset=utf-8", as_csv),
    "json": ("application/json", as_json),
    "parquet": ("application/vnd.apache.parquet", as_parquet),
}


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Every name of any row with what it holds, judged by its values; text where nothing is known."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: _kind([row[name] for row in rows if row.get(name) is not None]) for name in names}


def _kind(values: list[Any]) -> str:
    for kind, types in ((FLAG, bool), (COUNT, int), (NUMBER, (int, float)), (MOMENT, datetime), (TEXT, str)):
        if values and all(isinstance(value, types) for value in values):
            return kind
    return OBJECT if values else TEXT


def _batches(rows: Rows, size: int = BATCH) -> Iterator[list[Sequence[Any]]]:
    walk = iter(rows)
    while batch := list(islice(walk, size)):
        yield batch


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _plain(value: Any) -> Any:
    """A value as one cell of text."""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return value.isoformat() if isinstance(value, datetime) else value


def _cell(value: Any, kind: str) -> Any:
    """A value as Parquet takes it."""
    if value is None or kind in (FLAG, COUNT, MOMENT):
        return value
    if kind == NUMBER:
        return float(value)
    return str(value) if isinstance(value, str | UUID) else json.dumps(value, default=_text, ensure_ascii=False)


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
