"""What all endpoints share."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.api import etags
from registry.api.pagination import PARAMETERS
from registry.api.schema import EndpointSchema
from registry.api.throttling import Rate


class StrictFilters(DjangoFilterBackend):
    """A filter nobody knows is an error: ignored, it would answer another question than was asked."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        """The filtered rows. Raises `ValidationError` for unknown or bad filters."""
        known = [*(self.get_filterset_class(view, queryset).base_filters), *PARAMETERS]
        unknown = {
            name: [f"unknown filter; known here: {', '.join(known)}"]
            for name in request.query_params.keys() - set(known)
        }
        if unknown:
            raise ValidationError(unknown)
        rows: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return rows


WRITING = ("POST", "PUT", "PATCH", "DELETE")


def _unchanged(*_: Any, **__: Any) -> Response:
    return Response(status=304)


class Endpoint(GenericAPIView[Any]):
    """A view whose every method names the scopes it needs; see `permissions`."""

    schema = EndpointSchema()
    filter_backends = [StrictFilters]
    metadata_class = None  # what OPTIONS would tell stands in the OpenAPI file
    serves_rows = True  # GET answers from the database alone, so that its state is the answer's ETag
    # Method → scopes of a token, one of which is enough. GET needs `read` and is not listed.
    scopes: Mapping[str, tuple[str, ...]] = {}
    # Query parameters of methods that write; any other is refused: `?dry=1` passed over would write after all.
    asks: tuple[str, ...] = ()
    rate: Rate | None = None
    _tag: str | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Who it is, whether they may; and whether they have the answer already, which is then not made."""
        super().initial(request, *args, **kwargs)
        if request.method in WRITING and hasattr(self, request.method.lower()):
            self._refuse_unknown(request)
        if request.method == "GET" and self.serves_rows:
            self._tag = etags.tag_of(request)
            if etags.is_named(request.headers.get("If-None-Match", ""), self._tag):
                self.__dict__["get"] = _unchanged  # in the place of the view's own

    def _refuse_unknown(self, request: Request) -> None:
        known = ", ".join(self.asks) or "none"
        unknown = sorted(request.query_params.keys() - set(self.asks))
        if unknown:
            raise ValidationError({name[:40]: [f"unknown parameter; known here: {known}"] for name in unknown})

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """The answer, with its tag and what is left of the caller's rate."""
        finished = super().finalize_response(request, response, *args, **kwargs)
        if self._tag is not None and finished.status_code in (200, 304) and "ETag" not in finished:
            finished["ETag"] = self._tag
            finished.setdefault("Cache-Control", "private, no-cache")
        for name, value in (self.rate.headers() if self.rate else {}).items():
            finished[name] = value
        return finished

    def listed(self, rows: QuerySet[Any]) -> Response:
        """One page of `rows`, filtered, in the envelope."""
        wanted = self.fields(self.get_serializer().fields)  # type: ignore[attr-defined]  # no list's
        page = self.paginate_queryset(self.filter_queryset(rows))
        shown = self.get_serializer(page, many=True).data
        if wanted is not None:
            shown = [{name: row[name] for name in wanted} for row in shown]
        return self.get_paginated_response(shown)

    def fields(self, known: Iterable[str]) -> list[str] | None:
        """Those of `known` that `?fields=` names, in its order; `None` for all. Raises `ValidationError` for others."""
        asked = self.request.query_params.get("fields")
        if asked is None:
            return None
        wanted, known = asked.split(","), list(known)
        unknown = [name for name in wanted if name not in known]
        if unknown:
            text = f"{unknown[0][:40]!r} is no field of this list; there are {', '.join(known)}"
            raise ValidationError({"fields": [text]})
        return list(dict.fromkeys(wanted))


class Nothing(APIView):
    """Any address below /api/ that is none: JSON as everywhere else."""

    schema = None
    permission_classes = [AllowAny]
    authentication_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse, whatever the method."""
        raise NotFound(f"There is no {request.path[:200]!r} here; addresses end in / and are listed at /api/docs/.")
