"""Many rows in one statement: what the ledger's speed rests on.

The rows travel as one JSON text and PostgreSQL takes them apart, which costs a tenth of what it takes Django to spell
a thousand rows of sixty columns. A row whose unique column is taken is left out, so nothing is read beforehand.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.db import connection, models
from psycopg import Cursor

from registry.models.base import new_key


def insert(
    model: type[models.Model], rows: Sequence[Mapping[str, Any]], *, once_by: str = "", by: str = ""
) -> set[Any]:
    """Insert `rows`, JSON types by column, each with a value for every column. Return the `once_by` of those written.

    `once_by` is a unique column; a row whose value is taken is left out. With `by` instead, a row that clashes with
    any unique constraint is left out, and primary keys are returned. Rows are inserted in that column's order, so that
    two lists of the same rows that come at once wait for each other and do not deadlock.
    Raises `DataError` and `IntegrityError` as any insert does.
    """
    if not rows:
        return set()
    return {row[0] for row in run(_insert(model, once_by, by), [_text(rows)])}


def insert_together(*parts: tuple[type[models.Model], str, Sequence[Mapping[str, Any]]]) -> list[set[Any]]:
    """`insert` into many tables in one statement; a part is the model, its `once_by` and the rows.

    Parts are written in their order. An empty `once_by` is that of the primary key, for clashes of any kind.
    """
    texts = [_text(rows) for *_, rows in parts]
    ((*written,),) = run(_inserts(tuple((model, once_by) for model, once_by, _ in parts)), texts)
    return [set(keys) for keys in written]


@cache
def _inserts(parts: tuple[tuple[type[models.Model], str], ...]) -> str:
    names = [f"part{place}" for place in range(len(parts))]
    bodies = [
        f"{name} AS ({_insert(model, once_by, '' if once_by else str(model._meta.pk.column))})"
        for name, (model, once_by) in zip(names, parts, strict=True)
    ]
    keys = ", ".join(f"ARRAY(SELECT * FROM {name})" for name in names)  # noqa: S608 (names from the model alone)
    return f"WITH {', '.join(bodies)} SELECT {keys}"


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(rows, ensure_ascii=False, default=str)


@cache
def _insert(model: type[models.Model], once_by: str, by: str) -> str:
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in model._meta.concrete_fields if not field.generated)
    table, clash = quote(model._meta.db_table), f"({quote(once_by)})" if once_by else ""
    returned = quote(once_by or str(model._meta.pk.column))
    return (
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{table}, %s::json) "  # noqa: S608 (names from the model alone)
        f"ORDER BY {quote(once_by or by)} ON CONFLICT {clash} DO NOTHING RETURNING {returned}"
    )


def run(statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement that PostgreSQL prepares once per connection, as its plan never depends on sizes.

    Raises Django's database errors.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(connection.connection) as cursor:
        cursor.execute(statement, parameters, prepare=True)
        return cursor.fetchall()


def row_of(row: models.Model) -> dict[str, Any]:
    """The columns of a row as `insert` takes them."""
    return {column: getattr(row, name) for column, name in _names(type(row))}


@cache
def _names(model: type[models.Model]) -> list[tuple[str, str]]:
    return [(str(field.column), field.attname) for field in model._meta.concrete_fields if not field.generated]


def stamps(count: int) -> Iterable[dict[str, str]]:
    """`id` and `created_at` for that many new rows, in ascending order."""
    now = datetime.now(UTC).isoformat()
    return ({"id": str(new_key()), "created_at": now} for _ in range(count))
