"""Runs as OpenLineage events: newline-delimited JSON, an event a line, as OpenLineage's file transport writes them."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.views.artifacts import AnyAccept
from registry.models import Run, Study
from registry.selectors import openlineage

NDJSON = "application/x-ndjson"


class RunEventsView(Endpoint):
    """One run as events."""

    queryset = Run.objects.none()
    content_negotiation_class = AnyAccept
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="get_run_openlineage", responses={(200, NDJSON): OpenApiTypes.STR})
    def get(self, request: Request, id: UUID) -> StreamingHttpResponse:
        """START, and COMPLETE, FAIL, ABORT or RUNNING; artifacts read and made, and the energy in a facet."""
        run: Run = access.get(request, Run, pk=id)
        return _lines(request, Run.objects.filter(pk=run.pk))


class StudyEventsView(Endpoint):
    """All runs of a study as events."""

    queryset = Study.objects.none()
    content_negotiation_class = AnyAccept
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="get_study_openlineage", responses={(200, NDJSON): OpenApiTypes.STR})
    def get(self, request: Request, slug: str) -> StreamingHttpResponse:
        """The events of each run, oldest run first, streamed."""
        study: Study = access.get(request, Study, slug=slug)
        return _lines(request, Run.objects.filter(study=study))


class FacetSchemaView(Endpoint):
    """What the facets of our own hold."""

    queryset = Run.objects.none()
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="get_openlineage_facets", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        """JSON Schema of the energy facet of a run and of the facet of an artifact, to which their events point."""
        return Response(openlineage.facet_schema(_site(request)))


def _lines(request: Request, runs: Any) -> StreamingHttpResponse:
    events = openlineage.events(runs, _site(request))
    response = StreamingHttpResponse(_encoded(events), content_type=NDJSON)
    response["Content-Disposition"] = 'attachment; filename="openlineage.ndjson"'
    return response


def _encoded(events: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for event in events:
        yield json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _site(request: Request) -> str:
    return request.build_absolute_uri("/").rstrip("/")
