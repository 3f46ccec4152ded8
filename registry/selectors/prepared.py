"""Statements asked so often that building and planning them would cost more than running them.

Written out as SQL, they are sent as they stand; PostgreSQL prepares each once per connection and keeps its plan. They
run in the transaction that Django has open, if any.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import connection


def rows(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The statement's rows. Its values stand in it as `%(name)s`; what is JSON in the database comes as text."""
    with connection.cursor():  # connects, or connects again where the server has gone
        pass
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        # Django's own cursors fill values in themselves, which PostgreSQL cannot prepare.
        return cursor.execute(statement, values, prepare=True).fetchall()
