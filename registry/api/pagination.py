"""One envelope for every list, walked by key: {"results": […], "next": url or null, "previous": url or null}.

Keys are ordered by time, newest first. A page is found through the index on the key, so the last page of a million
rows costs what the first does, and rows written meanwhile shift nothing.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError as ModelValidationError
from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

if TYPE_CHECKING:  # it imports this module itself
    from rest_framework.views import APIView

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
PARAMETERS = ("limit", "after", "before", "fields")


class KeysetPagination(BasePagination):
    """`limit` rows `after` or `before` a key; the links carry both, nobody has to build them."""

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: "APIView | None" = None
    ) -> list[Any] | None:
        """One page, newest first. Raises `ValidationError` for a limit or key that is none."""
        if not isinstance(queryset, QuerySet):
            raise TypeError("a list has no keys to page by")
        self.url = request.build_absolute_uri()
        self.limit = _limit(request.query_params.get("limit"))
        after, before = (_key(queryset, name, request.query_params.get(name)) for name in ("after", "before"))
        if after is not None and before is not None:
            raise ValidationError({"after": ["give either after or before, not both"]})
        rows = self._page(queryset, after, before)
        more = len(rows) > self.limit
        self.page = rows[: self.limit]
        if before is not None:
            self.page.reverse()
        self.has_next, self.has_previous = (True, more) if before is not None else (more, after is not None)
        return self.page

    def _page(self, queryset: QuerySet[Any], after: Any, before: Any) -> list[Any]:
        if before is not None:
            return list(queryset.filter(pk__gt=before).order_by("pk")[: self.limit + 1])
        older = queryset if after is None else queryset.filter(pk__lt=after)
        return list(older.order_by("-pk")[: self.limit + 1])

    def get_paginated_response(self, rows: Sequence[Any]) -> Response:
        """The envelope around `rows`."""
        return Response({"results": rows, "next": self._next(), "previous": self._previous()})

    def _next(self) -> str | None:
        return self._link("after", self.page[-1]) if self.has_next and self.page else None

    def _previous(self) -> str | None:
        return self._link("before", self.page[0]) if self.has_previous and self.page else None

    def _link(self, name: str, row: Any) -> str:
        url = self.url
        for other in ("after", "before"):
            url = remove_query_param(url, other)
        return replace_query_param(replace_query_param(url, "limit", self.limit), name, row.pk)

    def get_paginated_response_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The envelope in OpenAPI."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": link, "previous": link},
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
        ]


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise ValidationError({"limit": [f"{text[:40]!r} is not a whole number between 1 and {MAX_LIMIT}"]})
    return int(text)


def _key(queryset: QuerySet[Any], name: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        value = queryset.model._meta.pk.to_python(text)
        queryset.model._meta.pk.run_validators(value)
    except (ModelValidationError, ValueError) as error:
        raise ValidationError({name: [f"{text[:40]!r} is no key; follow the links of a page"]}) from error
    return value
