"""Lists by keyset: the next page starts below the last key, however many rows came meanwhile."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import HttpRequest

PAGE = 50
Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Row]):
    """The rows of one page, and the key that the next one starts below (empty on the last)."""

    rows: Sequence[Row]
    before: str


def page_of(request: HttpRequest, rows: QuerySet[Row]) -> Page[Row]:
    """The page that `?before=` names, of rows that are ordered by falling key. A bad key means the first page."""
    with contextlib.suppress(KeyError, ValueError):
        rows = rows.filter(pk__lt=UUID(request.GET["before"]))
    found = list(rows[: PAGE + 1])
    more = len(found) > PAGE
    return Page(rows=found[:PAGE], before=str(found[PAGE - 1].pk) if more else "")
