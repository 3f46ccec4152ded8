"""The power trace of a stage record: thinned as JSON, or whole as the Parquet file it is kept in."""

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from registry import storage
from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.idempotency import once
from registry.api.parsers import CappedFormParser
from registry.api.serializers.traces import KeptTraceSerializer, TraceQuery, TraceSerializer, TraceUpload
from registry.importers import powertrace
from registry.models import Membership, Stage, Trace
from registry.selectors import traces
from registry.services import accounts
from registry.services.errors import Missing
from registry.tracefile import FILE_NAME, TraceError

PARQUET = "application/vnd.apache.parquet"
EXAMPLE = {"file": "time_s,gpu_power_w,cpu_power_w\n0,598.2,51\n1,601.7,49\n"}


class ParquetRenderer(BaseRenderer):
    """Chosen by `Accept` or `?format=parquet`; the view streams the file itself."""

    media_type = PARQUET
    format = "parquet"


class TraceView(Endpoint):
    """The power trace of one stage record."""

    serves_rows = False
    queryset = Stage.objects.none()
    serializer_class = TraceSerializer
    pagination_class = None
    filter_backends = []
    renderer_classes = [JSONRenderer, ParquetRenderer]
    parser_classes = [CappedFormParser]
    scopes = {"POST": ("upload",)}

    @extend_schema(
        operation_id="get_trace",
        parameters=[TraceQuery],
        responses={(200, "application/json"): TraceSerializer, (200, PARQUET): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, id: UUID) -> Response | StreamingHttpResponse:
        """Power over time. As JSON thinned: of every stretch the lowest and the highest sample, and all gaps.

        A stretch (`from`, `to`) has the sample before it and the one after it, so that a line reaches its ends. As
        Parquet (`?format=parquet`, or by `Accept`) it is the whole file, every reading, one row each.
        """
        asked = _asked(request)
        trace = _trace(request, id)
        if request.accepted_renderer.format == ParquetRenderer.format:
            return _file(trace)
        try:
            lines = traces.read(
                trace, start_s=asked.get("from", -math.inf), end_s=asked.get("to", math.inf), points=asked["points"]
            )
        except TraceError as error:
            raise Missing(f"{error}.") from error
        return Response(TraceSerializer(trace, context={"lines": lines}).data)

    @extend_schema(
        operation_id="upload_trace",
        request={"multipart/form-data": TraceUpload},
        responses={(201, "application/json"): KeptTraceSerializer, (200, "application/json"): KeptTraceSerializer},
        examples=[
            OpenApiExample("A minute at 1 Hz", value=EXAMPLE, request_only=True, media_type="multipart/form-data")
        ],
    )
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Put a power trace beside a record: CSV, CSV in gzip, or Parquet. 201; 200 for the same file again.

        Its energy is worked out anew, by component and device, and `checks` holds it against what the record claims. A
        difference above 1 % is said of the record (`trace_disagrees`), which keeps its run off the frontier until a
        maintainer accepts it. Another trace beside the same record is 409.
        """
        form = TraceUpload(data=request.data)
        form.is_valid(raise_exception=True)
        stage: Stage = access.get(request, Stage, pk=id)
        person = access.actor(request)
        accounts.require_role(person, stage.project, Membership.Role.SUBMITTER)
        trace, created = powertrace.take(stage=stage, content=form.validated_data["file"], actor=person)
        return Response(KeptTraceSerializer(trace).data, status=201 if created else 200)

    def handle_exception(self, exc: Exception) -> Response:
        """Refusals are JSON, whatever was asked for."""
        renderer = JSONRenderer()
        self.request.accepted_renderer, self.request.accepted_media_type = renderer, renderer.media_type
        return super().handle_exception(exc)


def _asked(request: Request) -> dict[str, Any]:
    query = TraceQuery(data=request.query_params)
    known = {*query.fields, "format"}
    unknown = {
        name: [f"unknown; known here: {', '.join(sorted(known))}"] for name in request.query_params.keys() - known
    }
    if unknown:
        raise ValidationError(unknown)
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)


def _trace(request: Request, key: UUID) -> Trace:
    stage: Stage = access.get(request, Stage, pk=key)
    trace = traces.trace_of(stage)
    if trace is None:
        raise Missing(f"The record {stage.record_id} has no power trace.")
    return trace


def _file(trace: Trace) -> StreamingHttpResponse:
    name = f"trace-{trace.stage_id}.parquet"
    return StreamingHttpResponse(
        _content(trace),
        content_type=PARQUET,
        headers={
            "Content-Disposition": str(content_disposition_header(True, name)),
            "Content-Length": str(trace.bytes),
            "ETag": f'"{trace.sha256}"',
            "X-Content-Type-Options": "nosniff",
        },
    )


def _content(trace: Trace) -> Iterator[bytes]:
    """The file in chunks; a missing one is noticed before the answer has begun. Raises `Missing`."""
    chunks = storage.read(trace.storage_key, FILE_NAME)
    try:
        first = next(chunks, b"")
    except storage.StorageError as error:
        raise Missing(f"{error}.") from error
    return chain([first], chunks)
