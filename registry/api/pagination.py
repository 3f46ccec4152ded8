"""One envelope for every list, walked by key: {"results": […], "next": url or null, "previous": url or null}.

Keys are ordered by time, newest first. A page is found through the index on the key, so the last page of a million
rows costs what the first does, and rows written meanwhile shift nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError as ModelValidationError
from django.db.models import F, Model, Q, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

if TYPE_CHECKING:  # it imports this module itself
    from rest_framework.views import APIView

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
PARAMETERS = ("limit", "after", "before", "fields", "order", "count")


class KeysetPagination(BasePagination):
    """`limit` rows `after` or `before` a cursor; the links carry both, nobody has to build them.

    A cursor is a row's key; of a list in another order it is the row's value in that column and its key.
    """

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: "APIView | None" = None
    ) -> list[Any] | None:
        """One page, newest first. Raises `ValidationError` for a limit, an order or a cursor that is none."""
        if not isinstance(queryset, QuerySet):
            raise TypeError("a list has no keys to page by")
        asked = request.query_params
        self.url = request.build_absolute_uri()
        self.limit = _limit(asked.get("limit"))
        self.order = Order.read(asked.get("order"), view, queryset.model)
        if asked.get("after") is not None and asked.get("before") is not None:
            raise ValidationError({"after": ["give either after or before, not both"]})
        after, before = (self.order.cursor(name, asked.get(name)) for name in ("after", "before"))
        # Never unasked for: of a list of millions it costs more than any page.
        self.count = queryset.count() if _flag("count", asked.get("count")) else None
        rows = self.order.page(queryset, after, before, self.limit + 1)
        more = len(rows) > self.limit
        self.page = rows[: self.limit]
        if before is not None:
            self.page.reverse()
        self.has_next, self.has_previous = (True, more) if before is not None else (more, after is not None)
        return self.page

    def get_paginated_response(self, rows: Sequence[Any]) -> Response:
        """The envelope around `rows`."""
        counted = {} if self.count is None else {"count": self.count}
        return Response({"results": rows, "next": self._next(), "previous": self._previous(), **counted})

    def _next(self) -> str | None:
        return self._link("after", self.page[-1]) if self.has_next and self.page else None

    def _previous(self) -> str | None:
        return self._link("before", self.page[0]) if self.has_previous and self.page else None

    def _link(self, name: str, row: Any) -> str:
        url = self.url
        for other in ("after", "before", "count"):
            url = remove_query_param(url, other)
        return replace_query_param(replace_query_param(url, "limit", self.limit), name, self.order.cursor_of(row))

    def get_paginated_response_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The envelope in OpenAPI."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": link, "previous": link, "count": {"type": "integer"}},
        }

    def get_schema_operation_parameters(self, view: "APIView") -> list[dict[str, Any]]:
        """`limit`, `after` and `before` in OpenAPI."""
        limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
        return [
            {"name": "limit", "in": "query", "description": "Rows on one page.", "schema": limit},
            {"name": "after", "in": "query", "description": "Rows older than this key.", "schema": {"type": "string"}},
            {"name": "before", "in": "query", "description": "Rows newer than this key.", "schema": {"type": "string"}},
            {
                "name": "fields",
                "in": "query",
                "description": "Only these fields of each row, by name, with commas.",
                "schema": {"type": "string"},
            },
            {
                "name": "order",
                "in": "query",
                "description": "A column; with - before it the largest first. Rows without a value come last.",
                "schema": {"type": "string", "enum": [way + name for name in orders(view) for way in ("", "-")]},
            },
            {
                "name": "count",
                "in": "query",
                "description": "1: say how many rows there are in all, which takes a while where there are many.",
                "schema": {"type": "string", "enum": ["0", "1"]},
            },
        ]


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise ValidationError({"limit": [f"{text[:40]!r} is not a whole number between 1 and {MAX_LIMIT}"]})
    return int(text)


def _flag(name: str, text: str | None) -> bool:
    if text not in (None, "0", "1"):
        raise ValidationError({name: [f"{text[:40]!r} is neither 0 nor 1"]})
    return text == "1"


def orders(view: Any) -> Mapping[str, str]:
    """The columns that the view's list may be put in the order of, by name, and the paths to them."""
    found: Mapping[str, str] = getattr(getattr(view, "filterset_class", None), "ranges", {})
    return found


def ordered_by(request: Request, view: Any) -> list[str]:
    """The column that the list is put in the order of, which each of its rows has to have, if it is any but the key."""
    path = orders(view).get(request.query_params.get("order", "").removeprefix("-"))
    return [] if path is None else [path]


@dataclass(frozen=True)
class Cursor:
    """Where a page begins or ends: a key, and the row's value in the column that orders the list."""

    key: Any
    value: Any = None


@dataclass(frozen=True)
class Order:
    """By key, or by a column and then by key; rows without a value last, whichever way.

    The rows of a page have the column as an attribute of the path's name.
    """

    model: type[Model]
    path: str | None = None
    descending: bool = True

    @classmethod
    def read(cls, text: str | None, view: Any, model: type[Model]) -> "Order":
        """The order that `text` names. Raises `ValidationError`."""
        if text is None:
            return cls(model)
        known = orders(view)
        path = known.get(text.removeprefix("-"))
        if path is None:
            said = f"{text[:40]!r} is no order of this list; there are {', '.join(known)}, each with or without -"
            raise ValidationError({"order": [said]})
        return cls(model, path, text.startswith("-"))

    def cursor(self, name: str, text: str | None) -> Cursor | None:
        """Read what `cursor_of` wrote. Raises `ValidationError`."""
        if text is None:
            return None
        value, _, key = text.rpartition("~") if self.path else ("", "", text)
        try:
            return Cursor(_typed(self.model._meta.pk, key), self._value(value) if self.path else None)
        except (ModelValidationError, ValueError, OverflowError) as error:
            raise ValidationError({name: [f"{text[:40]!r} is no cursor; follow the links of a page"]}) from error

    def cursor_of(self, row: Any) -> str:
        """The cursor at a row of a page."""
        if self.path is None:
            return str(row.pk)
        value = getattr(row, self.path)
        written = "" if value is None else value.isoformat() if isinstance(value, datetime) else repr(value)
        return f"{written}~{row.pk}"

    def page(self, rows: QuerySet[Any], after: Cursor | None, before: Cursor | None, most: int) -> list[Any]:
        """Rows beyond a cursor, the nearest first."""
        forward = before is None
        cursor = after if forward else before
        if cursor is not None:
            rows = rows.filter(self._beyond(cursor, forward=forward))
        return list(rows.order_by(*self._terms(forward=forward))[:most])

    def _terms(self, *, forward: bool) -> list[Any]:
        falling = self.descending is forward
        key = "-pk" if falling else "pk"
        if self.path is None:
            return [key]
        column = F(self.path)
        last = {"nulls_last": True} if forward else {"nulls_first": True}
        return [column.desc(**last) if falling else column.asc(**last), key]

    def _beyond(self, cursor: Cursor, *, forward: bool) -> Q:
        way = "lt" if self.descending is forward else "gt"
        further = Q(**{f"pk__{way}": cursor.key})
        if self.path is None:
            return further
        empty = Q(**{f"{self.path}__isnull": True})
        if cursor.value is None:
            return (empty & further) if forward else (empty & further) | ~empty
        beyond = Q(**{f"{self.path}__{way}": cursor.value}) | (Q(**{self.path: cursor.value}) & further)
        return beyond | empty if forward else beyond

    def _value(self, text: str) -> Any:
        from registry.api.filters import column_of

        return None if text == "" else _typed(column_of(self.model, self.path or ""), text)


def _typed(column: Any, text: str) -> Any:
    """A column's value out of a text. Raises Django's `ValidationError` and `ValueError`."""
    value = column.to_python(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(text)
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    column.run_validators(value)
    return value
