"""CSV and JSON as foreign tools write them."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from registry.importers.findings import ImportRefused

csv.field_size_limit(2**20)
MAX_ROWS = 10_000
MAX_JSON_BYTES = 16 * 2**20


def text_of(content: bytes, name: str) -> str:
    """The text of a file in UTF-8, with or without a mark. Raises `ImportRefused`."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportRefused(f"{name} is no UTF-8 text: byte {error.start} cannot be read") from error


def rows(content: bytes, name: str, *, most: int | None = MAX_ROWS) -> Iterator[dict[str, str]]:
    """The rows of a CSV file by header. Cells of a row that is too short are missing. Raises `ImportRefused`."""
    reader = csv.DictReader(io.StringIO(text_of(content, name), newline=""))
    try:
        for number, row in enumerate(reader, 1):
            if most is not None and number > most:
                raise ImportRefused(f"{name} has more than {most:,} rows; split it")
            yield {key: value for key, value in row.items() if key is not None and value is not None}
    except csv.Error as error:
        raise ImportRefused(f"{name} is no CSV: {error}") from error


def parse(content: bytes, name: str) -> Any:
    """The value of a JSON file. NaN, which Python writes and JSON does not know, is nothing. Raises `ImportRefused`."""
    if len(content) > MAX_JSON_BYTES:
        raise ImportRefused(f"{name} is more than {MAX_JSON_BYTES // 2**20} MiB of JSON")
    try:
        return json.loads(text_of(content, name), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"{name} is no JSON: {str(error)[:200]}") from error
